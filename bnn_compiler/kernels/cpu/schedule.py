"""Schedules: a point, as data, becomes a PrimFunc.

A convolution keeps a tile of ``pixels`` x ``vectors`` (of 16 outputs) in registers over the whole
reduction; the tile's epilogue, float store and packed store follow it, so accumulators never
leave the registers. Other kernels are vectorised over channels.
"""

import math
from dataclasses import dataclass

import tvm
import tvm_ffi
from tvm import s_tir, te, tirx

from bnn_compiler.kernels.cpu import intrinsics
from bnn_compiler.kernels.cpu.prefetch import STREAMED
from bnn_compiler.kernels.cpu.skip_padding import SKIP_ROWS
from bnn_compiler.kernels.cpu.tile import Tile
from bnn_compiler.kernels.epilogue import Stages
from bnn_compiler.kernels.layout import LANES
from bnn_compiler.kernels.point import tiles
from bnn_compiler.target import Hardware


def choose_tile(width: int, vectors: int, bits: int, hardware: Hardware) -> tuple[int, int]:
    """The tile (pixels, vectors) with the fewest loads per operation that fits the registers.

    ``vectors`` are the 16-channel vectors of one group, ``bits`` the width of an accumulator.
    Half of the registers hold accumulators: the rest holds weights, broadcasts and the temporaries
    of a popcount.
    """
    per_vector = max(1, LANES * bits // hardware.vector_bits)
    budget = max(1, hardware.vector_registers // 2 // per_vector)
    # A weight is a whole vector, an activation one broadcast word that folds into the xor.
    return min(tiles(width, vectors, budget), key=lambda t: (1 / t[0] + 0.5 / t[1], -t[1]))


def of(stages: Stages) -> s_tir.Schedule:
    """A schedule of the kernel as it comes from TE, with rounding defined."""
    intrinsics.register()
    function = te.create_prim_func([*stages.params, *stages.outputs])
    return s_tir.Schedule(contract(function), debug_mask="none")


def contract(function: tvm.tirx.PrimFunc) -> tvm.tirx.PrimFunc:
    """Each float32 ``sum + a * b`` becomes ``fma(a, b, sum)``, so that rounding is defined."""

    def visit(node: tirx.Add, mutator: tvm_ffi.StructuralMutator) -> tvm.ir.Expr:
        if isinstance(node.b, tirx.Mul) and str(node.b.ty.dtype) == "float32":
            return tirx.op.fma(node.b.a, node.b.b, node.a)
        return mutator.default_mutate(node)

    return tvm_ffi.structural_mutate(function, [(tirx.Add, visit)])


def attach_bits(sch: s_tir.Schedule, stages: Stages, loop: object) -> None:
    """Put each packed or quantised output under ``loop``."""
    for tensor, _ in stages.bits:
        sch.reverse_compute_at(sch.get_sblock(tensor.op.name), loop, preserve_unit_loops=True)
    for tensor in stages.quantized:
        block = sch.get_sblock(tensor.op.name)
        sch.reverse_compute_at(block, loop, preserve_unit_loops=True)
        sch.vectorize(sch.get_loops(block)[-1])


def tensorize_bits(sch: s_tir.Schedule, stages: Stages) -> None:
    """Turn each word's sixteen compares into one; the value stays local if nobody stores it."""
    for tensor, compare in stages.bits:
        block = sch.get_sblock(tensor.op.name)
        loops = sch.get_loops(block)
        sch.decompose_reduction(block, loops[-1])
        sch.tensorize(sch.get_loops(block)[-1], intrinsics.PACK[compare])
        for loop in loops[-3:-1]:
            sch.unroll(loop)
    if not any(out is stages.value for out in stages.outputs):
        sch.set_scope(sch.get_sblock("value"), 0, "local")


#: Stored rows [first, last) outside which the input is padding that adds nothing, if any are.
Rows = tuple[int, int] | None


@dataclass
class _Tiled:
    """A convolution with its outer loops made: ``acc`` waits for its reduction to be ordered."""

    sch: s_tir.Schedule
    acc: object
    epilogue: list[object]
    images: int

    @staticmethod
    def of(stages: Stages, point: Tile) -> "_Tiled":
        """n, block, y in parallel, then tiles; value and bits under each tile.

        The accumulators lie under each tile too, in order "strips" those of a whole row together.
        """
        assert stages.reduction is not None
        sch = of(stages)
        value, acc = sch.get_sblock("value"), sch.get_sblock(stages.reduction.op.name)
        n, y, x, c = sch.get_loops(value)
        images = int(sch.get(n).extent)
        xo, xi = sch.split(x, [None, point.pixels])
        co, ci = sch.split(c, [None, point.lanes])
        cv, cl = sch.split(ci, [None, LANES])
        outer = [n, y, co] if point.order == "rows" else [n, co, y]
        sch.reorder(*outer, xo, xi, cv, cl)
        # Before the reductions are split in init and update: those are no longer compact dataflow.
        parallel = sch.fuse(*outer)
        sch.compute_at(acc, parallel if point.order == "strips" else xo, preserve_unit_loops=True)
        sch.set_scope(acc, 0, "local")
        attach_bits(sch, stages, cv)
        sch.parallel(parallel)
        sch.vectorize(cl)
        return _Tiled(sch, acc, [xi, cv], images)

    def tile_loops(self, block: object, lanes: int, reduction: int) -> tuple[list[object], ...]:
        """(tile loops, reduction loops) of ``block``, whose last ``reduction`` loops those are."""
        loops = self.sch.get_loops(block)
        *_, pixel, _, lane = loops[: len(loops) - reduction]
        vector, lane = self.sch.split(lane, [None, lanes])
        return [pixel, vector, lane], list(loops[len(loops) - reduction :])

    def reduce_last(self, block: object, tile: list[object], reduction: list[object]) -> None:
        """The reduction around the tile, whose accumulators are named one by one."""
        self.sch.reorder(*reduction, *tile)
        self.sch.vectorize(tile[-1])
        for loop in tile[:-1]:
            self.sch.unroll(loop)

    def skip(self, loop: object, rows: Rows) -> None:
        """Let codegen guard ``loop``, over kernel rows."""
        if rows is not None:
            self.sch.annotate(loop, SKIP_ROWS, list(rows))

    def split_init(self, block: object, loop: object) -> None:
        """Zero the accumulators before ``loop``."""
        init = self.sch.decompose_reduction(block, loop)
        for one in self.sch.get_loops(init)[-4:-1]:
            self.sch.unroll(one)

    def finish(self, stages: Stages) -> tvm.tirx.PrimFunc:
        """Unroll the epilogue and pack. One image's activations mostly stay in L2."""
        for loop in self.epilogue:
            self.sch.unroll(loop)
        tensorize_bits(self.sch, stages)
        kernel = self.sch.mod["main"]
        return kernel.with_attr(STREAMED, True) if self.images > 1 else kernel


def conv(stages: Stages, point: Tile, rows: Rows = None) -> tvm.tirx.PrimFunc:
    """Register-blocked: parallel over rows and channel blocks, then tiles, then the reduction.

    Kernel rows outside ``rows`` = [first, last) of the stored image are skipped.
    """
    tiled = _Tiled.of(stages, point)
    assert stages.reduction is not None
    axes = len(stages.reduction.op.reduce_axis)
    tile, reduction = tiled.tile_loops(tiled.acc, LANES, axes)
    if point.in_lanes:
        # The words of one 128-bit vector: each is a lane of it (lanes.py).
        inside = _inside(tiled.sch, reduction[-1], point.in_lanes)
        words, word = tiled.sch.split(reduction[-1], [None, inside])
        reduction[-1:] = [words, word]
        tiled.sch.unroll(word)
    tiled.reduce_last(tiled.acc, tile, reduction)
    for loop in reduction[axes - point.unroll :]:
        tiled.sch.unroll(loop)
    tiled.skip(reduction[0], rows)
    tiled.split_init(tiled.acc, reduction[0])
    return tiled.finish(stages)


def _inside(sch: s_tir.Schedule, loop: object, most: int) -> int:
    """The largest power of two up to ``most`` that divides the loop."""
    return math.gcd(int(sch.get(loop).extent), most)


def table(stages: Stages, point: Tile, rows: Rows = None) -> tvm.tirx.PrimFunc:
    """The same with byte sums ``part`` in registers below the last loop over chunks."""
    tiled = _Tiled.of(stages, point)
    sch, lanes = tiled.sch, point.word // 8
    tile, outer = tiled.tile_loops(tiled.acc, lanes // 2, 3)
    if point.order == "strips":
        strip, tile[0] = sch.split(tile[0], [None, point.pixels])
        outer.append(strip)
    tiled.reduce_last(tiled.acc, tile, outer)
    tiled.skip(outer[0], rows)
    part = sch.get_sblock("part")
    sch.compute_at(part, outer[-1], preserve_unit_loops=True)
    sch.set_scope(part, 0, "local")
    # Below the tile's loops come three of extent 1, the chunk, and then the chunk's reduction.
    *_, pixel, _, lane, _, _, _, ix, ic, nibble = sch.get_loops(part)
    vector, lane = sch.split(lane, [None, lanes])
    tiled.reduce_last(part, [pixel, vector, lane], [ix, ic, nibble])
    if point.unroll:
        sch.unroll(nibble)
    init = sch.decompose_reduction(part, ix)
    for loop in sch.get_loops(init)[-8:]:
        if sch.get(loop).kind != tirx.ForKind.VECTORIZED:
            sch.unroll(loop)
    tiled.split_init(tiled.acc, outer[0])
    return tiled.finish(stages)


def channelwise(stages: Stages) -> tvm.tirx.PrimFunc:
    """Vectorised over 16 channels, parallel over rows; a reduction stays inside the vector."""
    sch = of(stages)
    value = sch.get_sblock("value")
    n, y, _, c = sch.get_loops(value)
    co, ci = sch.split(c, [None, LANES])
    if stages.reduction is not None:
        acc = sch.get_sblock(stages.reduction.op.name)
        sch.compute_at(acc, co, preserve_unit_loops=True)
        sch.set_scope(acc, 0, "local")
        *_, lane, ry, rx = sch.get_loops(acc)
        sch.reorder(ry, rx, lane)
        sch.vectorize(lane)
    attach_bits(sch, stages, co)
    sch.parallel(sch.fuse(n, y))
    sch.vectorize(ci)
    if stages.reduction is not None:
        sch.decompose_reduction(acc, ry)
    tensorize_bits(sch, stages)
    return sch.mod["main"]


def words(function: tvm.tirx.PrimFunc) -> tvm.tirx.PrimFunc:
    """A plain element-wise kernel, parallel over rows; LLVM vectorises the words."""
    sch = s_tir.Schedule(function, debug_mask="none")
    n, y, *_ = sch.get_loops(sch.get_sblock("value"))
    sch.parallel(sch.fuse(n, y))
    return sch.mod["main"]
