"""The kernel of a general program: one loop nest over its value, with its reduction inside."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import tvm
from tvm import s_tir, te, tirx

from bnn_compiler.kernels.cpu import product
from bnn_compiler.kernels.cpu.product import Product
from bnn_compiler.kernels.cpu.schedule import contract
from bnn_compiler.kernels.primitives import (
    Parts,
    Tensor,
    form,
    full,
    reduction,
    reduction_in_parts,
    squeezed,
)
from bnn_compiler.kernels.task import PlainTask
from bnn_compiler.ops.general import Program, Shape, primitive
from bnn_compiler.ops.merged_axes import merged
from bnn_compiler.ops.primitives import Kind

#: Values at once, the widest that divides the last axis.
_LANES = (16, 8, 4)


@dataclass(frozen=True)
class Nest:
    """The kernel's parameters, its reduction if it has one, and its value without axes of 1.

    Its reduction is ``product`` if that is one in tiles, ``parts`` if it is along rows.
    """

    params: list[te.Tensor]
    reduction: te.Tensor | None
    value: te.Tensor
    product: Product | None = None
    parts: Parts | None = None


def nest(shapes: Sequence[Shape], program: Program, *, tiled: bool = False) -> Nest:
    """A program on dense arguments of ``shapes``; at most one of its steps reduces.

    With ``tiled`` a product is one in tiles, where it can be.
    """
    program, shapes = merged(program, shapes)
    loaded = {s.operands[0]: s.params[0] for s in program.steps if s.op == "load"}
    params = [
        te.placeholder(shape or (1,), loaded.get(f"a{i}", "float32"), f"a{i}")
        for i, shape in enumerate(shapes)
    ]
    values = {f"a{i}": _argument(p, s) for i, (p, s) in enumerate(zip(params, shapes, strict=True))}
    found = program.shapes(shapes)
    acc: te.Tensor | None = None
    tiles: Product | None = None
    parts: Parts | None = None
    for i, step in enumerate(program.steps):
        name = f"t{i}"
        operands, shape = [values[v] for v in step.operands], found[name]
        if primitive(step.op).kind is Kind.REDUCE:
            assert not (acc or tiles or parts), "a kernel has one reduction"
            if tiled and step.op == "matmul" and product.fits(shape, operands[0].shape[-1]):
                tiles = product.product(shape, *operands)
                values[name] = Tensor(shape, partial(tiles.at, shape=shape))
                continue
            parts = reduction_in_parts(step.op, step.params, shape, operands)
            if parts is None:
                acc = reduction(step.op, step.params, shape, operands)
            values[name] = _stage(acc if parts is None else parts.acc, shape)
        else:
            values[name] = form(step.op, step.params, shape, operands)
    result = values[program.result]
    value = te.compute(
        squeezed(result.shape), lambda *index: result.at(full(result.shape, index)), name="value"
    )
    return Nest(params, acc, value, tiles, parts)


def _argument(param: te.Tensor, shape: Shape) -> Tensor:
    return Tensor(shape, lambda index: param(*(index or [0])))


def _stage(acc: te.Tensor, shape: Shape) -> Tensor:
    def at(index: Sequence[tirx.Var]) -> tvm.ir.Expr:
        kept = [i for i, n in zip(index, shape, strict=True) if n != 1]
        return acc(*(kept or [0]))

    return Tensor(shape, at)


def function(task: PlainTask) -> tirx.PrimFunc:
    """Parallel over the outer axes, in vectors along the last; a reduction stays in registers."""
    shapes, lines = task.parameters
    made = nest(shapes, Program.parse(lines), tiled=True)
    primfunc = contract(te.create_prim_func([*made.params, made.value]))
    sch = s_tir.Schedule(primfunc, debug_mask="none")
    if made.product is not None:
        product.schedule(sch, made.product)
        return sch.mod["main"]
    if made.parts is not None:
        _along_rows(sch)
        return sch.mod["main"]
    *outer, last = sch.get_loops(sch.get_sblock("value"))
    extent = int(sch.get(last).extent)
    lanes = next((n for n in _LANES if extent % n == 0), None)
    inner, lane = sch.split(last, [None, lanes]) if lanes else (last, None)
    reduced = None
    if made.reduction is not None:
        reduced = _reduce(sch, made.reduction, inner, in_vectors=lane is not None)
    # Before the reduction is split in init and update: it is no longer compact dataflow.
    sch.parallel(sch.fuse(*outer) if outer else inner)
    if lane is not None:
        sch.vectorize(lane)
    if reduced is not None:
        sch.decompose_reduction(*reduced)
    return sch.mod["main"]


def _along_rows(sch: s_tir.Schedule) -> None:
    """Parallel over the values, each with its parts in a vector."""
    value, acc, parts = (sch.get_sblock(name) for name in ("value", "acc", "parts"))
    parallel = sch.fuse(*sch.get_loops(value))
    for block in (acc, parts):
        sch.compute_at(block, parallel, preserve_unit_loops=True)
        sch.set_scope(block, 0, "local")
    *_, lane, step = sch.get_loops(parts)
    sch.reorder(step, lane)
    sch.vectorize(lane)
    sch.parallel(parallel)
    sch.decompose_reduction(parts, step)


def _reduce(
    sch: s_tir.Schedule, acc: te.Tensor, loop: object, *, in_vectors: bool
) -> tuple[object, object]:
    """The reduction in order, at each element or vector of the value: its block, its first loop."""
    block = sch.get_sblock(acc.op.name)
    sch.compute_at(block, loop, preserve_unit_loops=True)
    sch.set_scope(block, 0, "local")
    count = len(acc.op.reduce_axis)
    loops = sch.get_loops(block)
    reduced = loops[len(loops) - count :]
    if in_vectors:
        lane = loops[len(loops) - count - 1]
        sch.reorder(*reduced, lane)
        sch.vectorize(lane)
    return block, reduced[0]
