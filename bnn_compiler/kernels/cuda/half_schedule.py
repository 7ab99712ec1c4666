"""Schedules of products of halves: as of signs (mma_schedule.py), with a block's image staged."""

from math import prod

import tvm
import tvm_ffi
from tvm import s_tir, tirx

from bnn_compiler.kernels.cuda import mma_intrinsics, mma_schedule, schedule
from bnn_compiler.kernels.cuda.half_shape import PADDING, Shape
from bnn_compiler.kernels.cuda.instruction import COLUMNS
from bnn_compiler.kernels.cuda.words import WORD
from bnn_compiler.kernels.epilogue import Stages

#: Steps of a reduction that are written out, so that what they read has constant offsets.
_UNROLLED = 16


def blocks(stages: Stages, shape: Shape) -> tirx.PrimFunc:
    """A tile of outputs a block."""
    mma_intrinsics.register()
    point = shape.point
    sch = schedule.of(stages)
    schedule.value_of(sch, stages, "patch", "halves", "weights")
    name = stages.value.op.name
    sch = s_tir.Schedule(_reading_whole_tiles(sch.mod["main"], name, shape), debug_mask="none")
    value = sch.get_sblock(name)
    _, _, m, c = sch.get_loops(value)
    mo, mi = sch.split(m, [None, point.outputs])
    warp, mi = sch.split(mi, [point.warps, None])
    co, cq, lane = sch.split(c, [None, max(1, point.channels // WORD), WORD])
    sch.reorder(mo, co, warp, mi, cq, lane)
    for loop, axis in ((mo, "blockIdx.x"), (co, "blockIdx.y"), (warp, "threadIdx.y")):
        sch.bind(loop, axis)
    sch.bind(lane, "threadIdx.x")
    if shape.work.pool and point.outputs // point.warps <= _UNROLLED:
        # Neighbours read the same sums.
        sch.unroll(mi)
        sch.unroll(cq)
    mma_schedule.outputs(sch, stages, cq)
    sch.set_scope(value, 0, "local")
    _product(sch, shape, co)
    if shape.staged:
        _stage(sch, shape, co)
    return sch.mod["main"]


def _reading_whole_tiles(function: tirx.PrimFunc, name: str, shape: Shape) -> tirx.PrimFunc:
    """The block ``name`` reads all rows of a product, so that all are computed, the padding too."""
    between = tvm.ir.Range.from_min_extent

    def widen(region: tirx.BufferRegion, m: tirx.Var, c: tirx.Var) -> tirx.BufferRegion:
        if str(region.source.name) != "acc":
            return region
        ranges = [
            between(0, shape.point.splits),
            between(m // shape.point.outputs, 1),
            between(0, shape.rows),
            between(c // shape.columns, 1),
            between(0, shape.columns),
        ]
        return tirx.BufferRegion(region.source, ranges)

    def visit(node: s_tir.SBlock, mutator: tvm_ffi.StructuralMutator) -> s_tir.SBlock:
        made = mutator.default_mutate(node)
        if made.name_hint != name:
            return made
        _, _, m, c = (v.var for v in made.iter_vars)
        return s_tir.SBlock(
            made.iter_vars, [widen(r, m, c) for r in made.reads], made.writes, made.name_hint,
            made.body, made.init, made.alloc_buffers, made.match_buffers, made.annotations,
        )  # fmt: skip

    body = tvm_ffi.structural_mutate(function.body, [(s_tir.SBlock, visit)])
    return tirx.PrimFunc(list(function.params), body, function.ret_type, function.attrs)


def _product(sch: s_tir.Schedule, shape: Shape, block: object) -> None:
    i = shape.instruction
    acc = sch.get_sblock("acc")
    copy = sch.cache_write(acc, 0, "warp")
    sch.set_scope(copy, 0, "shared")
    sch.storage_align(copy, 0, 2, WORD, PADDING)
    sch.compute_at(copy, block, preserve_unit_loops=True)
    s, one, m, tile, c = sch.get_loops(copy)[-5:]
    down, m = sch.split(m, [shape.point.down, None])
    sch.reorder(one, s, down, tile, m, c)
    warp = sch.fuse(s, down, tile)
    sch.bind(warp, "threadIdx.y")
    sch.compute_at(acc, warp, preserve_unit_loops=True)
    _, _, m, _, c, k = sch.get_loops(acc)[-6:]
    mo, mi = sch.split(m, [None, i.rows])
    co, ci = sch.split(c, [None, COLUMNS])
    ko, ki = sch.split(k, [None, i.words])
    sch.reorder(ko, mo, co, mi, ci, ki)
    halves, weights = sch.get_sblock("halves"), sch.get_sblock("weights")
    for fragment in (halves, weights):
        sch.compute_at(fragment, ko, preserve_unit_loops=True)
        sch.set_scope(fragment, 0, "warp")
    sch.transform_layout(halves, ("write", 0), lambda b, m, k: (b, *i.of_input(m, k)))
    sch.transform_layout(weights, ("write", 0), lambda t, c, k: (t, *i.of_weights(c, k)))
    sch.transform_layout(acc, ("write", 0), lambda s, b, m, t, c: (s, b, t, *i.of_sums(m, c)))
    start = sch.decompose_reduction(acc, ko)
    for target, column in ((halves, 4), (weights, 4), (start, 2), (copy, 2)):
        mma_schedule.lanes(sch, target, column)
    for loop in (mo, co):
        sch.unroll(loop)
    if shape.staged and shape.steps <= _UNROLLED:
        sch.unroll(ko)
    sch.tensorize(mi, i.name)


def _stage(sch: s_tir.Schedule, shape: Shape, block: object) -> None:
    """What the block reads of the image; a thread has words of one column."""
    patch = sch.get_sblock("patch")
    sch.compute_at(patch, block, preserve_unit_loops=True)
    sch.set_scope(patch, 0, "shared")
    c, y, x = sch.get_loops(patch)[-3:]
    y, together = sch.split(y, [None, max(1, shape.threads // shape.patch[1])])
    columns, warp, lane = sch.split(sch.fuse(together, x), [None, shape.point.warps, WORD])
    sch.bind(warp, "threadIdx.y")
    sch.bind(lane, "threadIdx.x")
    loops = (c, y, columns)
    if prod(int(sch.get(loop).extent) for loop in loops) <= _UNROLLED:
        for loop in loops:
            sch.unroll(loop)
