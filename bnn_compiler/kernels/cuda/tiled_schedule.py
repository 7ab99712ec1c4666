"""Schedules of float products on CUDA cores.

A block has a tile of pixels by channels. Its threads bring a step of both factors into shared
memory, and each sums its part of the tile in registers; the sums go through shared memory too, from
where each warp takes whole words of 32 channels of a pixel, as in mma_schedule.py.
"""

from typing import Any

import tvm
from tvm import s_tir, tirx

from bnn_compiler.kernels.cuda import mma_schedule, schedule
from bnn_compiler.kernels.cuda.schedule import together
from bnn_compiler.kernels.cuda.words import WORD
from bnn_compiler.kernels.epilogue import Stages

#: Products of a sum that are written out one after the other, at most.
_UNROLLED = 8
#: Floats that a thread loads from shared memory at once.
_VECTOR = 4


def blocks(stages: Stages, point: Any, step: int) -> tirx.PrimFunc:
    """``point`` is a TiledPoint; ``step`` products are summed between two meetings."""
    sch = schedule.of(stages)
    value = schedule.value_of(sch, stages, "inputs", "weights")
    block = mma_schedule.epilogue(sch, stages, value, point)
    acc = sch.get_sblock("acc")
    copy = sch.cache_write(acc, 0, "local")
    sch.set_scope(copy, 0, "shared")
    sch.compute_at(copy, block, preserve_unit_loops=True)
    m, c = sch.get_loops(copy)[-2:]
    down, m = sch.split(m, [point.down, None])
    across, c = sch.split(c, [point.across, None])
    sch.reorder(down, across, m, c)
    lane = _threads(sch, sch.fuse(down, across), point)
    sch.compute_at(acc, lane, preserve_unit_loops=True)
    m, c, k = sch.get_loops(acc)[-3:]
    ko, ki = sch.split(k, [None, step])
    ki, ku = sch.split(ki, [None, together([step], _UNROLLED)])
    sch.unroll(ku)
    sch.reorder(ko, ki, ku, m, c)
    for name in ("inputs", "weights"):
        factor = sch.get_sblock(name)
        # First, so that it covers what all threads read.
        sch.set_scope(factor, 0, "shared")
        sch.compute_at(factor, ko, preserve_unit_loops=True)
        _bring(sch, factor, point)
    start = sch.decompose_reduction(acc, ko)
    if point.columns > _VECTOR:
        # Vectors of a thread lie apart, so that neighbours read neighbouring ones.
        sch.transform_layout("weights", ("write", 0), _apart)
    for stage in (copy, acc, start):
        for loop in sch.get_loops(stage)[-2:]:
            sch.unroll(loop)
    return sch.mod["main"]


def _apart(k: tirx.Var, c: tirx.Var) -> tuple[tvm.ir.Expr, ...]:
    """[k, channel], 8 of a thread -> [k, vector of a thread, thread, channel of a vector]."""
    return k, c % (2 * _VECTOR) // _VECTOR, c // (2 * _VECTOR), c % _VECTOR


def _bring(sch: s_tir.Schedule, factor: object, point: Any) -> None:
    """All threads load the last two loops together, neighbours along the last one."""
    k, along = sch.get_loops(factor)[-2:]
    turn, thread = sch.split(sch.fuse(k, along), [None, point.warps * WORD])
    _threads(sch, thread, point)
    sch.unroll(turn)


def _threads(sch: s_tir.Schedule, loop: object, point: Any) -> object:
    """Bind a loop over a block's threads; the loop of the lanes."""
    warp, lane = sch.split(loop, [point.warps, WORD])
    sch.bind(warp, "threadIdx.y")
    sch.bind(lane, "threadIdx.x")
    return lane
