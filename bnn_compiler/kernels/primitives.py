"""The primitives of ops/primitives.py in TE: a value at an index, or a stage for a reduction."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import tvm
from tvm import te, tirx

from bnn_compiler.kernels import functions
from bnn_compiler.kernels.epilogue import f32, product
from bnn_compiler.ops.functions import FUNCTIONS
from bnn_compiler.ops.general import Shape
from bnn_compiler.ops.primitives import DTYPES, PARTS, in_parts

Index = Sequence[tvm.ir.Expr]
At = Callable[[Index], tvm.ir.Expr]


@dataclass(frozen=True)
class Tensor:
    """A value that is computed where it is read."""

    shape: Shape
    at: At

    def broadcast(self, index: Index) -> tvm.ir.Expr:
        """At an index of a shape that this one is broadcast to."""
        tail = list(index)[len(index) - len(self.shape) :]
        return self.at([0 if n == 1 else i for n, i in zip(self.shape, tail, strict=True)])


def form(op: str, params: Sequence[Any], shape: Shape, operands: Sequence[Tensor]) -> Tensor:
    """The primitive's value, of ``shape``, element by element. Raises KeyError for a reduction."""
    if op in FUNCTIONS:
        (x,) = operands
        return Tensor(shape, lambda index: functions.call(op, x.at(index), params))
    if op in _MAPS:
        made = _MAPS[op]
        return Tensor(shape, lambda index: made(params, *(t.broadcast(index) for t in operands)))
    move = _MOVES[op](params, shape, *operands)
    return Tensor(shape, move)


def reduction(
    op: str, params: Sequence[Any], shape: Shape, operands: Sequence[Tensor]
) -> te.Tensor:
    """The stage ``acc`` that holds a reduction's value, without axes of 1."""
    body, axes, combine = _REDUCTIONS[op](params, shape, *operands)
    kept = squeezed(shape)
    reducer = te.comm_reducer(combine.both, lambda dtype: tirx.const(combine.start, dtype), "acc")
    return te.compute(kept, lambda *i: reducer(body(full(shape, i)), axis=axes), name="acc")


@dataclass(frozen=True)
class Parts:
    """A reduction along rows: ``parts`` [..., PARTS] of its value ``acc``, without axes of 1."""

    parts: te.Tensor
    acc: te.Tensor


def reduction_in_parts(
    op: str, params: Sequence[Any], shape: Shape, operands: Sequence[Tensor]
) -> Parts | None:
    """A reduction whose terms ops/primitives.py has in parts, or may be; None for any other."""
    if op not in _ACCUMULATED or not in_parts(operands[0].shape, params[0]):
        return None
    ((x,), (axes,)), combine = (operands, params), _ACCUMULATED[op]
    count = prod(x.shape[a] for a in axes)

    def term(index: Index, position: tvm.ir.Expr) -> tvm.ir.Expr:
        inner = dict(zip(axes, unravelled(position, [x.shape[a] for a in axes]), strict=True))
        rest = iter(full(shape, index))
        return x.at([inner[i] if i in inner else next(rest) for i in range(len(x.shape))])

    def part(*index: tvm.ir.Expr) -> tvm.ir.Expr:
        return reducer(term(index[:-1], step.var * PARTS + index[-1]), axis=[step])

    def whole(*index: tvm.ir.Expr) -> tvm.ir.Expr:
        values = [parts(*index, i) for i in range(PARTS)]
        for i in range(count % PARTS):
            last = tirx.IntImm("int32", count // PARTS * PARTS + i)
            values[i] = combine.both(values[i], term(index, last))
        while len(values) > 1:
            half = len(values) // 2
            values = [combine.both(a, b) for a, b in zip(values[:half], values[half:], strict=True)]
        return values[0]

    kept, step = squeezed(shape), te.reduce_axis((0, count // PARTS), "step")
    reducer = te.comm_reducer(combine.both, lambda dtype: tirx.const(combine.start, dtype), "part")
    parts = te.compute((*kept, PARTS), part, name="parts")
    return Parts(parts, te.compute(kept, whole, name="acc"))


def unravelled(position: tvm.ir.Expr, sizes: Sequence[int]) -> list[tvm.ir.Expr]:
    """The index in ``sizes`` of a position in row-major order."""
    index: list[tvm.ir.Expr] = []
    for k, n in enumerate(sizes):
        after = prod(sizes[k + 1 :])
        outer = tirx.floordiv(position, after) if after > 1 else position
        index.append(outer if k == 0 else tirx.floormod(outer, n))
    return index


def squeezed(shape: Shape) -> Shape:
    """``shape`` without axes of 1; (1,) if there are no others."""
    return tuple(n for n in shape if n != 1) or (1,)


def full(shape: Shape, index: Index) -> list[tvm.ir.Expr]:
    """The index in ``shape`` of one without axes of 1."""
    rest = iter(index)
    return [0 if n == 1 else next(rest) for n in shape]


def _kept(shape: Shape, index: Index) -> list[tvm.ir.Expr]:
    """An index in ``shape`` without its axes of 1."""
    return [i for i, n in zip(index, shape, strict=True) if n != 1] or [tirx.IntImm("int32", 0)]


def _truth(condition: tvm.ir.Expr) -> tvm.ir.Expr:
    return tirx.Select(condition, f32(1), f32(0))


def _store(params: Sequence[Any], x: tvm.ir.Expr) -> tvm.ir.Expr:
    (dtype,) = params
    if dtype == "bool":
        return tirx.Select(x.equal(f32(0)), tirx.const(0, "bool"), tirx.const(1, "bool"))
    low, high = map(f32, DTYPES[dtype])
    above = tirx.Select(x > low, x, low)
    return tirx.Select(above < high, above, high).astype(dtype)


#: (parameters, *operands' elements) -> element.
_MAPS: dict[str, Callable[..., tvm.ir.Expr]] = {
    "number": lambda p: f32(p[0]),
    "add": lambda _, a, b: a + b,
    "sub": lambda _, a, b: a - b,
    "mul": lambda _, a, b: product(a, b),
    "div": lambda _, a, b: a / b,
    "max": lambda _, a, b: tirx.max(a, b),
    "min": lambda _, a, b: tirx.min(a, b),
    "equal": lambda _, a, b: _truth(a.equal(b)),
    "less": lambda _, a, b: _truth(a < b),
    "less_equal": lambda _, a, b: _truth(a <= b),
    "where": lambda _, c, a, b: tirx.Select(c.equal(f32(0)), b, a),
    "clip": lambda p, x: tirx.min(tirx.max(x, f32(p[0])), f32(p[1])),
    "sign": lambda p, x: tirx.Select(
        x > f32(0), f32(1), tirx.Select(x < f32(0), f32(-1), f32(p[0]))
    ),
    "copy": lambda _, x: x,
    "load": lambda _, x: x.astype("float32"),
    "store": _store,
}


def _reshape(params: Sequence[Any], shape: Shape, x: Tensor) -> At:
    if squeezed(x.shape) == squeezed(shape):
        return lambda index: x.at(full(x.shape, _kept(shape, index)))
    # Axes that both shapes have, from the left and from the right, keep their own index.
    left = 0
    while left < min(len(shape), len(x.shape)) and shape[left] == x.shape[left]:
        left += 1
    right = 0
    while (
        right < min(len(shape), len(x.shape)) - left
        and shape[len(shape) - 1 - right] == x.shape[len(x.shape) - 1 - right]
    ):
        right += 1
    old, new = x.shape[left : len(x.shape) - right], shape[left : len(shape) - right]

    def at(index: Index) -> tvm.ir.Expr:
        flat: tvm.ir.Expr = tirx.IntImm("int32", 0)
        for n, i in zip(new, index[left : len(shape) - right], strict=True):
            flat = flat * n + i
        return x.at([*index[:left], *unravelled(flat, old), *index[len(shape) - right :]])

    return at


def _expand(_: Sequence[Any], __: Shape, x: Tensor) -> At:
    return x.broadcast


def _permute(params: Sequence[Any], _: Shape, x: Tensor) -> At:
    (axes,) = params
    return lambda index: x.at([index[axes.index(i)] for i in range(len(axes))])


def _slice(params: Sequence[Any], _: Shape, x: Tensor) -> At:
    starts, steps, _sizes = params
    return lambda index: x.at(
        [i * step + first for first, step, i in zip(starts, steps, index, strict=True)]
    )


def _pad(params: Sequence[Any], _: Shape, x: Tensor) -> At:
    before, after, value = params

    def at(index: Index) -> tvm.ir.Expr:
        source = [i - b for i, b in zip(index, before, strict=True)]
        inside = [
            c
            for i, n, b, a in zip(source, x.shape, before, after, strict=True)
            for c in ([i >= 0] if b else []) + ([i < n] if a else [])
        ]
        if not inside:
            return x.at(source)
        return tirx.if_then_else(tirx.all(*inside), x.at(source), f32(value))

    return at


def _concat(params: Sequence[Any], _: Shape, *parts: Tensor) -> At:
    (axis,) = params

    def at(index: Index) -> tvm.ir.Expr:
        def part(x: Tensor, first: int) -> tvm.ir.Expr:
            return x.at([*index[:axis], index[axis] - first, *index[axis + 1 :]])

        ends = [sum(x.shape[axis] for x in parts[: k + 1]) for k in range(len(parts))]
        result = part(parts[-1], ends[-1] - parts[-1].shape[axis])
        for x, end in reversed(list(zip(parts[:-1], ends[:-1], strict=True))):
            inner = part(x, end - x.shape[axis])
            result = tirx.if_then_else(index[axis] < end, inner, result)
        return result

    return at


def _within(row: tvm.ir.Expr, count: int) -> tvm.ir.Expr:
    """A whole number from 0 to count - 1, so that nothing beyond is read; a NaN is 0."""
    above = tirx.Select(row > f32(0), row, f32(0))
    return tirx.Select(above < f32(count - 1), above, f32(count - 1)).astype("int32")


def _take(params: Sequence[Any], _: Shape, x: Tensor, indices: Tensor) -> At:
    (axis,) = params
    rank = len(indices.shape)

    def at(index: Index) -> tvm.ir.Expr:
        row = _within(indices.at(index[axis : axis + rank]), x.shape[axis])
        return x.at([*index[:axis], row, *index[axis + rank :]])

    return at


#: (parameters, shape, *operands) -> element at an index.
_MOVES: dict[str, Callable[..., At]] = {
    "reshape": _reshape,
    "expand": _expand,
    "permute": _permute,
    "slice": _slice,
    "pad": _pad,
    "concat": _concat,
    "take": _take,
}


@dataclass(frozen=True)
class Combine:
    """How a reduction adds an element to what it has, and what it begins with."""

    both: Callable[[tvm.ir.Expr, tvm.ir.Expr], tvm.ir.Expr]
    start: float


_SUM = Combine(lambda a, b: a + b, 0.0)
_PROD = Combine(product, 1.0)
_MAX = Combine(lambda a, b: tirx.max(a, b), float("-inf"))
_MIN = Combine(lambda a, b: tirx.min(a, b), float("inf"))
_ACCUMULATED = {"sum": _SUM, "prod": _PROD, "reduce_max": _MAX, "reduce_min": _MIN}
Reduction = tuple[At, list[Any], Combine]


def _over_axes(combine: Combine) -> Callable[..., Reduction]:
    def make(params: Sequence[Any], _: Shape, x: Tensor) -> Reduction:
        (axes,) = params
        inner = {a: te.reduce_axis((0, x.shape[a]), f"r{a}") for a in axes}

        def body(index: Index) -> tvm.ir.Expr:
            rest = iter(index)
            return x.at([inner[i].var if i in inner else next(rest) for i in range(len(x.shape))])

        return body, list(inner.values()), combine

    return make


def _cumsum(params: Sequence[Any], _: Shape, x: Tensor) -> Reduction:
    (axis,) = params
    r = te.reduce_axis((0, x.shape[axis]), "r")

    def body(index: Index) -> tvm.ir.Expr:
        term = x.at([*index[:axis], r.var, *index[axis + 1 :]])
        return tirx.Select(r.var <= index[axis], term, f32(0))

    return body, [r], _SUM


def _matmul(_: Sequence[Any], __: Shape, a: Tensor, b: Tensor) -> Reduction:
    k = te.reduce_axis((0, a.shape[-1]), "k")

    def body(index: Index) -> tvm.ir.Expr:
        *batch, i, j = index
        # schedule.contract turns each step of this sum into one fma.
        return a.broadcast([*batch, i, k.var]) * b.broadcast([*batch, k.var, j])

    return body, [k], _SUM


#: (parameters, shape, *operands) -> element, reduced axes, how they are combined.
_REDUCTIONS: dict[str, Callable[..., Reduction]] = {
    **{op: _over_axes(combine) for op, combine in _ACCUMULATED.items()},
    "cumsum": _cumsum,
    "matmul": _matmul,
}
