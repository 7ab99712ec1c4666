"""Schedules of products on tensor cores.

A block has a tile of pixels by channels. Its warps multiply parts of it, from registers to
registers; the sums go through shared memory, from where each warp takes whole words of 32 channels
of a pixel, so that the epilogue reads and writes whole lines and a vote packs its bits.
"""

from typing import Any

from tvm import s_tir, tirx

from bnn_compiler.kernels.cuda import mma_intrinsics, schedule
from bnn_compiler.kernels.cuda.instruction import COLUMNS, Instruction
from bnn_compiler.kernels.cuda.words import WORD
from bnn_compiler.kernels.epilogue import Stages

#: Where copies go that a block does not wait for; async_copies.py.
_STAGED = "shared.dyn"
#: Words of a copy at most.
_TOGETHER = 4


def blocks(stages: Stages, point: Any, instruction: Instruction, together: int) -> tirx.PrimFunc:
    """``point`` is an MmaPoint; ``together`` words of the input are in a copy if it has stages."""
    mma_intrinsics.register()
    sch = schedule.of(stages)
    value = schedule.value_of(
        sch, stages, "signs", "weights", *(["stored"] if point.stages else [])
    )
    block = epilogue(sch, stages, value, point)
    ko = _product(sch, point, instruction, block)
    if point.stages:
        _stage(sch, point, ko, together)
    return sch.mod["main"]


def epilogue(sch: s_tir.Schedule, stages: Stages, value: object, point: Any) -> object:
    """A block's tile of the value and its outputs, words of a pixel each; the loop of the blocks.

    ``point`` has ``pixels``, ``channels`` and ``warps`` of a block.
    """
    _, _, m, c = sch.get_loops(value)
    mo, mi = sch.split(m, [None, point.pixels])
    warp, mi = sch.split(mi, [point.warps, None])
    co, cq, lane = sch.split(c, [None, max(1, point.channels // WORD), WORD])
    sch.reorder(mo, co, warp, mi, cq, lane)
    for loop, axis in ((mo, "blockIdx.x"), (co, "blockIdx.y"), (warp, "threadIdx.y")):
        sch.bind(loop, axis)
    sch.bind(lane, "threadIdx.x")
    outputs(sch, stages, cq)
    sch.set_scope(value, 0, "local")
    return co


def outputs(sch: s_tir.Schedule, stages: Stages, loop: object) -> None:
    """Packed words, then what is stored, under ``loop``, which is over words of a pixel."""
    for tensor, _ in stages.bits:
        block = sch.get_sblock(tensor.op.name)
        sch.reverse_compute_at(block, loop, preserve_unit_loops=True)
        schedule.bind_lane(sch, block)
        sch.set_scope(block, 0, "local")
    for i, tensor in enumerate(stages.outputs):
        block = sch.get_sblock(f"out{i}")
        is_value = str(tensor.dtype) in ("float32", "uint16")
        sch.reverse_compute_at(block, loop, preserve_unit_loops=True)
        if is_value:
            schedule.bind_lane(sch, block)


def _product(sch: s_tir.Schedule, point: Any, i: Instruction, block: object) -> object:
    """The loop over steps of the instruction."""
    acc = sch.get_sblock("acc")
    copy = sch.cache_write(acc, 0, "warp")
    sch.set_scope(copy, 0, _STAGED if point.stages else "shared")
    sch.compute_at(copy, block, preserve_unit_loops=True)
    s, m, tile, c = sch.get_loops(copy)[-4:]
    down, m = sch.split(m, [point.down, None])
    sch.reorder(s, down, tile, m, c)
    warp = sch.fuse(s, down, tile)
    sch.bind(warp, "threadIdx.y")
    sch.compute_at(acc, warp, preserve_unit_loops=True)
    _, m, _, c, k = sch.get_loops(acc)[-5:]
    mo, mi = sch.split(m, [None, i.rows])
    co, ci = sch.split(c, [None, COLUMNS])
    ko, ki = sch.split(k, [None, i.words])
    sch.reorder(ko, mo, co, mi, ci, ki)
    signs, weights = sch.get_sblock("signs"), sch.get_sblock("weights")
    sch.compute_at(signs, ko, preserve_unit_loops=True)
    sch.compute_at(weights, ko, preserve_unit_loops=True)
    for fragment in (signs, weights):
        sch.set_scope(fragment, 0, "warp")
    sch.transform_layout(signs, ("write", 0), lambda g, m, k: (g, *i.of_input(m, k)))
    sch.transform_layout(weights, ("write", 0), lambda t, c, k: (t, *i.of_weights(c, k)))
    sch.transform_layout(acc, ("write", 0), lambda s, m, t, c: (s, t, *i.of_sums(m, c)))
    start = sch.decompose_reduction(acc, ko)
    for target, column in ((signs, 4), (weights, 4), (start, 2), (copy, 2)):
        lanes(sch, target, column)
    for loop in (mo, co):
        sch.unroll(loop)
    sch.tensorize(mi, i.name)
    return ko


def _stage(sch: s_tir.Schedule, point: Any, loop: object, together: int) -> None:
    """Both operands come into shared memory, ``point.stages`` - 1 steps ahead of their use."""
    stored = sch.get_sblock("stored")
    sch.set_scope(stored, 0, _STAGED)
    sch.compute_at(stored, loop, preserve_unit_loops=True)
    copied = sch.cache_read(sch.get_sblock("weights"), 0, _STAGED)
    sch.compute_at(copied, loop, preserve_unit_loops=True)
    for block, count in ((stored, 4), (copied, 5)):
        # All threads copy words that lie together.
        flat = sch.fuse(*sch.get_loops(block)[-count:])
        words = together if block is stored else _TOGETHER
        _, warp, lane, vector = sch.split(flat, [None, point.warps, WORD, words])
        sch.bind(warp, "threadIdx.y")
        sch.bind(lane, "threadIdx.x")
        sch.vectorize(vector)
    # Children of the loop: the input's copy, its fragments, the weights' copy, theirs, products.
    last = point.stages - 1
    sch.annotate(loop, "software_pipeline_stage", [0, last, 0, last, last])
    sch.annotate(loop, "software_pipeline_order", [0, 2, 1, 3, 4])
    sch.annotate(loop, "software_pipeline_async_stages", [0])


def lanes(sch: s_tir.Schedule, block: object, column: int) -> None:
    """The last two loops become registers around the lane: 8 rows by 4 elements or pairs."""
    row, inner = sch.get_loops(block)[-2:]
    r0, r1 = sch.split(row, [None, 8])
    if column == 4:
        q0, q1 = sch.split(inner, [None, 4])
        registers = [r0, q0]
    else:
        q2, q1, q0 = sch.split(inner, [None, 4, 2])
        registers = [r0, q2, q0]
    sch.reorder(*registers, r1, q1)
    sch.bind(sch.fuse(r1, q1), "threadIdx.x")
    for loop in registers:
        sch.unroll(loop)
