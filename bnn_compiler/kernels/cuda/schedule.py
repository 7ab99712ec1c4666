"""Schedules of kernels on CUDA cores: a thread computes one output channel of some pixels."""

from tvm import s_tir, te, tirx

from bnn_compiler.kernels.cpu.schedule import contract
from bnn_compiler.kernels.cuda.words import WORD
from bnn_compiler.kernels.epilogue import Stages

#: Threads of a block at most.
THREADS = 256
#: Loads that a thread begins before it needs the first of them, at most.
_LOADS = 32


def of(stages: Stages) -> s_tir.Schedule:
    """A schedule of the kernel as it comes from TE, with rounding defined."""
    function = te.create_prim_func([*stages.params, *stages.outputs])
    return s_tir.Schedule(contract(function), debug_mask="none")


def together(extents: list[int], most: int) -> int:
    """The most iterations of nested loops, up to ``most``, that the fused loop splits into evenly.

    They are whole inner loops and a divisor of the next: indices stay affine, and no thread has to
    ask whether it has work.
    """
    best, whole = 1, 1
    for extent in reversed(extents):
        if whole > most:
            break
        fitting = (d for d in range(1, most // whole + 1) if extent % d == 0)
        best, whole = max(best, whole * max(fitting)), whole * extent
    return best


def value_of(sch: s_tir.Schedule, stages: Stages, *others: str) -> object:
    """The block of the kernel's value, with what it is made of inside.

    Stages that only move or widen what they read are computed where they are read, except
    ``others``.
    """
    bits = (tensor for tensor, _ in stages.bits)
    own = (stages.value, stages.reduction, *stages.outputs, *bits)
    kept = {*others, *(t.op.name for t in own if t is not None)}
    for block in sch.get_child_blocks(sch.get_sblock("root")):
        if sch.get(block).name_hint not in kept:
            sch.compute_inline(block)
    return sch.get_sblock(stages.value.op.name)


def elements(stages: Stages, pixels: int = 1, threads: int = THREADS) -> tirx.PrimFunc:
    """``pixels`` of a row (they divide it) and one channel a thread, reduced in order.

    With packed outputs a warp has 32 channels.
    """
    sch = of(stages)
    value = value_of(sch, stages)
    n, y, x, c = sch.get_loops(value)
    xo, xi = sch.split(x, [None, pixels])
    if stages.bits:
        co, ci = sch.split(c, [None, WORD])
        sch.reorder(n, y, xo, co, ci, xi)
        thread = _flat(sch, [n, y, xo, co], threads // WORD, "threadIdx.y")
        sch.bind(ci, "threadIdx.x")
        inner = ci
        _outputs(sch, stages, thread)
    else:
        sch.reorder(n, y, xo, c, xi)
        inner = _flat(sch, [n, y, xo, c], threads)
        for tensor in stages.outputs:
            if tensor is not stages.value:
                block = sch.get_sblock(tensor.op.name)
                sch.reverse_compute_at(block, inner, preserve_unit_loops=True)
                sch.set_scope(value, 0, "local")
    if pixels > 1:
        sch.unroll(xi)
    if stages.reduction is not None:
        _reduction(sch, stages.reduction, inner)
    return sch.mod["main"]


def words(function: tirx.PrimFunc) -> tirx.PrimFunc:
    """A plain element-wise kernel, one element a thread."""
    sch = s_tir.Schedule(function, debug_mask="none")
    _flat(sch, sch.get_loops(sch.get_sblock("value")), THREADS)
    return sch.mod["main"]


def _flat(
    sch: s_tir.Schedule, loops: list[object], threads: int, axis: str = "threadIdx.x"
) -> object:
    """Bind ``loops`` to blocks and threads; the loop of the threads."""
    count = together([int(sch.get(loop).extent) for loop in loops], threads)
    block, thread = sch.split(sch.fuse(*loops), [None, count])
    sch.bind(block, "blockIdx.x")
    sch.bind(thread, axis)
    return thread


def _outputs(sch: s_tir.Schedule, stages: Stages, loop: object) -> None:
    """Under ``loop``, over warps, each word's bits and each stored value in its channel's lane.

    The value itself stays in registers.
    """
    for tensor in stages.outputs:
        block = sch.get_sblock(tensor.op.name)
        sch.reverse_compute_at(block, loop, preserve_unit_loops=True)
        bind_lane(sch, block)
    sch.set_scope(sch.get_sblock(stages.value.op.name), 0, "local")


def bind_lane(sch: s_tir.Schedule, block: object) -> None:
    """Bind the last loop of a block, over a word's channels, to the lanes of a warp."""
    lane = sch.get_loops(block)[-1]
    if int(sch.get(lane).extent) != WORD:
        _, lane = sch.split(lane, [None, WORD])
    sch.bind(lane, "threadIdx.x")


def _reduction(sch: s_tir.Schedule, tensor: te.Tensor, loop: object) -> None:
    """Accumulators of the pixels in registers, in the order of the reduction's axes."""
    acc = sch.get_sblock(tensor.op.name)
    sch.compute_at(acc, loop, preserve_unit_loops=True)
    sch.set_scope(acc, 0, "local")
    loops = sch.get_loops(acc)
    axes = len(tensor.op.reduce_axis)
    reduced, pixel = loops[len(loops) - axes :], loops[-axes - 2]
    # Loads do not wait for sums, and so come together.
    several = together([int(sch.get(reduced[-1]).extent)], _LOADS)
    reduced[-1:] = sch.split(reduced[-1], [None, several])
    sch.reorder(*reduced, pixel)
    for loop in (reduced[-1], pixel):
        sch.unroll(loop)
    sch.decompose_reduction(acc, reduced[0])
