"""The kernel of a general program on a GPU: an element a thread, reduced in the CPU's order."""

from math import prod

from tvm import s_tir, te, tirx

from bnn_compiler.kernels.cpu.general import nest
from bnn_compiler.kernels.cpu.schedule import contract
from bnn_compiler.kernels.cuda.schedule import THREADS, together
from bnn_compiler.kernels.cuda.words import WORD
from bnn_compiler.kernels.task import PlainTask
from bnn_compiler.ops.general import Program
from bnn_compiler.ops.rounding import round_up


def function(task: PlainTask) -> tirx.PrimFunc:
    """Each thread computes one element of the value; what is summed for it stays in registers."""
    shapes, lines = task.parameters
    made = nest(shapes, Program.parse(lines))
    primfunc = contract(te.create_prim_func([*made.params, made.value]))
    sch = s_tir.Schedule(primfunc, debug_mask="none")
    loops = sch.get_loops(sch.get_sblock("value"))
    threads = block_size([int(sch.get(loop).extent) for loop in loops])
    block, thread = sch.split(sch.fuse(*loops), [None, threads])
    sch.bind(block, "blockIdx.x")
    sch.bind(thread, "threadIdx.x")
    if made.reduction is not None:
        acc = sch.get_sblock(made.reduction.op.name)
        sch.compute_at(acc, thread, preserve_unit_loops=True)
        sch.set_scope(acc, 0, "local")
        inner = sch.get_loops(acc)
        sch.decompose_reduction(acc, inner[len(inner) - len(made.reduction.op.reduce_axis)])
    if made.parts is not None:
        _along_rows(sch, thread)
    return sch.mod["main"]


def _along_rows(sch: s_tir.Schedule, thread: object) -> None:
    """The parts of a sum in registers of its thread."""
    acc, parts = sch.get_sblock("acc"), sch.get_sblock("parts")
    for block in (acc, parts):
        sch.compute_at(block, thread, preserve_unit_loops=True)
        sch.set_scope(block, 0, "local")
    *_, lane, step = sch.get_loops(parts)
    sch.reorder(step, lane)
    sch.unroll(lane)
    sch.decompose_reduction(parts, step)


def block_size(extents: list[int]) -> int:
    """Threads of a block: whole loops if they fill a warp, else some threads have no work."""
    even, total = together(extents, THREADS), prod(extents)
    return even if even >= WORD or total <= even else min(THREADS, round_up(total, WORD))
