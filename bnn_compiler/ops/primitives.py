"""The primitives of general programs (general.py): shape and meaning of each in numpy.

Sums and products run in index order along the reduced axes, the last fastest. Where the operand's
last axis is one of them and there are 32 terms or more, they run as 16 partial ones: term i belongs
to i % 16, and then part j takes up part j + 8, j + 4, j + 2 and j + 1. ``matmul`` is a chain of fma
over the last axis of its first operand. kernels/primitives.py has the same table in TE.

| primitive | operands; parameters | value |
|---|---|---|
| number | ; value | one number, of rank 0 |
| add, sub, mul, div, max, min, equal, less, less_equal | a, b | with numpy's broadcast |
| where | condition, a, b | a where the condition is not 0 |
| clip | x; low, high | min(max(x, low), high) |
| sign | x; zero | -1, 1, or zero |
| copy | x | x |
| load | x; dtype | x, an argument of the caller's of a dtype of DTYPES, as the nearest float32 |
| store | x; dtype | x cut to an integer of DTYPES; the last step of a program only |
| reshape, expand | x; shape | numpy's reshape and broadcast_to |
| permute | x; axes | numpy's transpose |
| slice | x; starts, steps, sizes | of every axis |
| pad | x; widths before, widths after, value | a border of one number |
| concat | x...; axis | |
| take | x, indices; axis | numpy's take; an index beyond an end is that end |
| sum, prod, reduce_max, reduce_min | x; axes | without the reduced axes |
| cumsum | x; axis | |
| matmul | a [..., I, K], b [..., K, J] | [..., I, J] |

Functions of one value (functions.py) are primitives too, with their literals as parameters.
A number that its dtype does not hold is stored as the nearest that float32 and the dtype both hold,
a NaN as the least; a truth value is whether it is not 0.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bnn_compiler.ops.reference import fma

Shape = tuple[int, ...]
Array = NDArray[np.float32]

#: What ``store`` writes: the least and the largest number of a dtype that float32 holds.
DTYPES: dict[str, tuple[float, float]] = {
    "bool": (0.0, 1.0),
    "uint8": (0.0, 255.0),
    "int32": (-(2.0**31), 2.0**31 - 2.0**7),
    "int64": (-(2.0**63), 2.0**63 - 2.0**39),
}

#: Of a sum along rows, each a lane of a vector.
PARTS = 16


class Kind(Enum):
    """What a primitive does to indices."""

    #: Each element is made of those at the same (or broadcast) index.
    MAP = "map"
    #: Each element is one of an operand.
    MOVE = "move"
    #: Each element is made of many.
    REDUCE = "reduce"


@dataclass(frozen=True)
class Primitive:
    """``shape`` (parameters, operands' shapes), and ``meaning`` (parameters, *operands)."""

    kind: Kind
    shape: Callable[[Sequence[Any], Sequence[Shape]], Shape]
    meaning: Callable[..., Any]


def _broadcast(_: Sequence[Any], shapes: Sequence[Shape]) -> Shape:
    return tuple(np.broadcast_shapes(*shapes))


def _given(params: Sequence[Any], _: Sequence[Shape]) -> Shape:
    return tuple(params[-1])


def _first(_: Sequence[Any], shapes: Sequence[Shape]) -> Shape:
    return shapes[0]


def _padded(params: Sequence[Any], shapes: Sequence[Shape]) -> Shape:
    return tuple(b + n + a for b, n, a in zip(params[0], shapes[0], params[1], strict=True))


def _joined(params: Sequence[Any], shapes: Sequence[Shape]) -> Shape:
    (axis,) = params
    first = shapes[0]
    return (*first[:axis], sum(s[axis] for s in shapes), *first[axis + 1 :])


def _taken(params: Sequence[Any], shapes: Sequence[Shape]) -> Shape:
    (axis,) = params
    return (*shapes[0][:axis], *shapes[1], *shapes[0][axis + 1 :])


def _reduced(params: Sequence[Any], shapes: Sequence[Shape]) -> Shape:
    (axes,) = params
    return tuple(n for i, n in enumerate(shapes[0]) if i not in axes)


def _multiplied(_: Sequence[Any], shapes: Sequence[Shape]) -> Shape:
    a, b = shapes
    return (*np.broadcast_shapes(a[:-2], b[:-2]), a[-2], b[-1])


def _rows(x: Array, axes: Sequence[int]) -> Array:
    """The reduced axes as the first one."""
    kept = [i for i in range(x.ndim) if i not in axes]
    moved = x.transpose(*axes, *kept)
    return moved.reshape(prod(x.shape[i] for i in axes), *(x.shape[i] for i in kept))


def in_parts(shape: Shape, axes: Sequence[int]) -> bool:
    """Whether the terms along ``axes`` of a tensor of ``shape`` are added up in PARTS parts."""
    last = max((i for i, n in enumerate(shape) if n != 1), default=-1)
    return last in axes and prod(shape[a] for a in axes) >= 2 * PARTS


def _accumulated(
    combine: Callable[[Array, Array], Array], start: float
) -> Callable[[Sequence[Any], Array], Array]:
    def meaning(params: Sequence[Any], x: Array) -> Array:
        rows = _rows(x, params[0])
        count = PARTS if in_parts(x.shape, params[0]) else 1
        parts = np.full((count, *rows.shape[1:]), start, np.float32)
        for first in range(0, len(rows), count):
            terms = rows[first : first + count]
            parts[: len(terms)] = combine(parts[: len(terms)], terms)
        while len(parts) > 1:
            half = len(parts) // 2
            parts = combine(parts[:half], parts[half:])
        total: Array = parts[0]
        return total

    return meaning


def _matmul(_: Sequence[Any], a: Array, b: Array) -> Array:
    total = np.zeros(_multiplied((), (a.shape, b.shape)), np.float32)
    for k in range(a.shape[-1]):
        total = fma(a[..., :, k, None], b[..., k, None, :], total)
    return total


def _slice(params: Sequence[Any], x: Array) -> Array:
    for axis, (first, step, count) in enumerate(zip(*params, strict=True)):
        x = np.take(x, first + step * np.arange(count), axis)
    return x


def _within(indices: Array, count: int) -> NDArray[np.int64]:
    """Whole numbers from 0 to count - 1; a NaN is 0."""
    above = np.where(indices > 0, indices, np.float32(0))
    return np.where(above < count - 1, above, np.float32(count - 1)).astype(np.int64)


def _store(params: Sequence[Any], x: Array) -> NDArray[Any]:
    (dtype,) = params
    if dtype == "bool":
        return np.not_equal(x, 0)
    low, high = map(np.float32, DTYPES[dtype])
    above = np.where(x > low, x, low)
    cut: NDArray[Any] = np.where(above < high, above, high).astype(dtype)
    return cut


def _map(meaning: Callable[..., Any]) -> Primitive:
    return Primitive(Kind.MAP, _broadcast, meaning)


PRIMITIVES: dict[str, Primitive] = {
    "number": Primitive(Kind.MAP, lambda *_: (), lambda params: np.float32(params[0])),
    "add": _map(lambda _, a, b: a + b),
    "sub": _map(lambda _, a, b: a - b),
    "mul": _map(lambda _, a, b: a * b),
    "div": _map(lambda _, a, b: a / b),
    "max": _map(lambda _, a, b: np.maximum(a, b)),
    "min": _map(lambda _, a, b: np.minimum(a, b)),
    "equal": _map(lambda _, a, b: a == b),
    "less": _map(lambda _, a, b: a < b),
    "less_equal": _map(lambda _, a, b: a <= b),
    "where": _map(lambda _, c, a, b: np.where(c != 0, a, b)),
    "clip": _map(
        lambda p, x: np.minimum(np.maximum(x, np.float32(p[0])), np.float32(p[1])),
    ),
    "sign": _map(lambda p, x: np.where(x > 0, 1, np.where(x < 0, -1, p[0]))),
    "copy": _map(lambda _, x: x),
    "load": _map(lambda _, x: x),
    "store": _map(_store),
    "reshape": Primitive(Kind.MOVE, _given, lambda p, x: x.reshape(p[0])),
    "expand": Primitive(Kind.MOVE, _given, lambda p, x: np.broadcast_to(x, p[0])),
    "permute": Primitive(
        Kind.MOVE,
        lambda p, shapes: tuple(shapes[0][i] for i in p[0]),
        lambda p, x: x.transpose(p[0]),
    ),
    "slice": Primitive(Kind.MOVE, _given, _slice),
    "pad": Primitive(
        Kind.MOVE,
        _padded,
        lambda p, x: np.pad(x, list(zip(p[0], p[1], strict=True)), constant_values=p[2]),
    ),
    "concat": Primitive(Kind.MOVE, _joined, lambda p, *xs: np.concatenate(xs, p[0])),
    "take": Primitive(
        Kind.MOVE, _taken, lambda p, x, i: np.take(x, _within(i, x.shape[p[0]]), p[0])
    ),
    "sum": Primitive(Kind.REDUCE, _reduced, _accumulated(np.add, 0.0)),
    "prod": Primitive(Kind.REDUCE, _reduced, _accumulated(np.multiply, 1.0)),
    "reduce_max": Primitive(Kind.REDUCE, _reduced, lambda p, x: x.max(tuple(p[0]))),
    "reduce_min": Primitive(Kind.REDUCE, _reduced, lambda p, x: x.min(tuple(p[0]))),
    "cumsum": Primitive(
        Kind.REDUCE, _first, lambda p, x: np.add.accumulate(x, p[0], dtype=np.float32)
    ),
    "matmul": Primitive(Kind.REDUCE, _multiplied, _matmul),
}
