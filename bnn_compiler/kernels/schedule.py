"""Rule-based schedules: good without tuning.

A convolution keeps a tile of ``pixels`` x ``vectors`` (of 16 outputs) in registers over the whole
reduction; the tile's epilogue, float store and packed store follow it, so accumulators never
leave the registers. Other kernels are vectorised over channels.
"""

from dataclasses import dataclass

import tvm
import tvm_ffi
from tvm import s_tir, te, tirx

from bnn_compiler.kernels import intrinsics
from bnn_compiler.kernels.epilogue import Stages
from bnn_compiler.kernels.layout import LANES
from bnn_compiler.target import Hardware


@dataclass(frozen=True)
class Tile:
    """``pixels`` along x times ``vectors`` of 16 output channels."""

    pixels: int
    vectors: int


def choose_tile(width: int, vectors: int, bits: int, hardware: Hardware) -> Tile:
    """The tile with the fewest loads per operation that fits the registers.

    ``vectors`` are the 16-channel vectors of one group, ``bits`` the width of an accumulator.
    Half of the registers hold accumulators: the rest holds weights, broadcasts and the temporaries
    of a popcount.
    """
    per_vector = max(1, LANES * bits // hardware.vector_bits)
    budget = max(1, hardware.vector_registers // 2 // per_vector)
    tiles = [
        Tile(p, v)
        for p in range(1, width + 1)
        for v in range(1, vectors + 1)
        if width % p == 0 and vectors % v == 0 and p * v <= budget
    ]
    # A weight is a whole vector, an activation one broadcast word that folds into the xor.
    return min(tiles, key=lambda t: (1 / t.pixels + 0.5 / t.vectors, -t.vectors))


def _function(stages: Stages) -> s_tir.Schedule:
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


def _attach_bits(sch: s_tir.Schedule, stages: Stages, loop: object) -> None:
    """Put each packed output under ``loop``."""
    for tensor, _ in stages.bits:
        sch.reverse_compute_at(sch.get_sblock(tensor.op.name), loop, preserve_unit_loops=True)


def _tensorize_bits(sch: s_tir.Schedule, stages: Stages) -> None:
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


def conv(stages: Stages, tile: Tile) -> tvm.tirx.PrimFunc:
    """Register-blocked: parallel over (n, channel block, y), then x tiles, then the reduction."""
    assert stages.reduction is not None
    sch = _function(stages)
    value, acc = sch.get_sblock("value"), sch.get_sblock(stages.reduction.op.name)
    n, y, x, c = sch.get_loops(value)
    xo, xi = sch.split(x, [None, tile.pixels])
    co, ci = sch.split(c, [None, tile.vectors * LANES])
    cv, cl = sch.split(ci, [None, LANES])
    sch.reorder(n, co, y, xo, xi, cv, cl)
    sch.compute_at(acc, xo, preserve_unit_loops=True)
    sch.set_scope(acc, 0, "local")
    _attach_bits(sch, stages, xo)
    *_, ax, _, al, ry, rx, rc = sch.get_loops(acc)
    av, lane = sch.split(al, [None, LANES])
    sch.reorder(ry, rx, rc, ax, av, lane)
    # Before the reductions are split in init and update: those are no longer compact dataflow.
    sch.parallel(sch.fuse(n, co, y))
    for loop in (cl, lane):
        sch.vectorize(loop)
    for loop in (xi, cv, ax, av):
        sch.unroll(loop)
    init = sch.decompose_reduction(acc, ry)
    for loop in sch.get_loops(init)[-4:-1]:
        sch.unroll(loop)
    _tensorize_bits(sch, stages)
    return sch.mod["main"]


def channelwise(stages: Stages) -> tvm.tirx.PrimFunc:
    """Vectorised over 16 channels, parallel over rows; a reduction stays inside the vector."""
    sch = _function(stages)
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
    _attach_bits(sch, stages, co)
    sch.parallel(sch.fuse(n, y))
    sch.vectorize(ci)
    if stages.reduction is not None:
        sch.decompose_reduction(acc, ry)
    _tensorize_bits(sch, stages)
    return sch.mod["main"]


def words(function: tvm.tirx.PrimFunc) -> tvm.tirx.PrimFunc:
    """A plain element-wise kernel, parallel over rows; LLVM vectorises the words."""
    sch = s_tir.Schedule(function, debug_mask="none")
    n, y, *_ = sch.get_loops(sch.get_sblock("value"))
    sch.parallel(sch.fuse(n, y))
    return sch.mod["main"]
