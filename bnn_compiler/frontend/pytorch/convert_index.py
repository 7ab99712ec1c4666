"""Converters of operators whose results are indices: the largest, the least, the first few.

An index is the least of those where the extreme is, so among equal values the first one is meant.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from bnn_compiler.frontend.pytorch.context import Context
from bnn_compiler.frontend.pytorch.convert_reduce import reduce
from bnn_compiler.frontend.value import Value

#: Indices are floats while they are computed.
_EXACT = 2**24
#: Up to so many of ``topk`` are found one after the other, each by two kernels; more by sorting.
MOST_FIRST = 16


def _positions(ctx: Context, x: Value, axis: int) -> np.ndarray:
    """0, 1, ... along ``axis``, in a shape that broadcasts to ``x``."""
    count = x.shape[axis]
    if count > _EXACT:
        raise ctx.fail(f"an index among {count} values; up to {_EXACT} can be compiled")
    return np.arange(count, dtype=np.float32).reshape(-1, *[1] * (len(x.shape) - 1 - axis))


def _index(ctx: Context, x: Value, extreme: Value, axis: int, taken: Value | None = None) -> Value:
    """Where x first is ``extreme``, which has a 1 along ``axis``; ``taken`` places are left out."""
    elsewhere = ctx.call("sub", 1.0, ctx.call("equal", x, extreme))
    if taken is not None:
        elsewhere = ctx.call("max", elsewhere, taken)
    count = float(x.shape[axis])
    found = ctx.call("where", elsewhere, count, _positions(ctx, x, axis))
    # Nothing equals a NaN; its index has to lie within.
    first = reduce(ctx, "reduce_min", found, (axis,), True)
    return ctx.call("min", first, count - 1)


def _without(ctx: Context, x: Value, axis: int) -> Value:
    """``x`` without an axis of 1."""
    shape = tuple(n for i, n in enumerate(x.shape) if i != axis)
    return ctx.call("reshape", x, params=(shape,))


def index_of(ctx: Context, op: str, x: Value, axis: int, keepdim: bool) -> Value:
    """Where reduce_max or reduce_min of ``axis`` is."""
    found = _index(ctx, x, reduce(ctx, op, x, (axis,), True), axis)
    return found if keepdim else _without(ctx, found, axis)


def _arg(op: str) -> Callable[..., Value]:
    def convert(ctx: Context, x: Any, dim: Any = None, keepdim: bool = False) -> Value:
        value = ctx.tensor(x)
        if dim is not None:
            return index_of(ctx, op, value, int(dim) % len(value.shape), keepdim)
        flat = ctx.call("reshape", value, params=((int(np.prod(value.shape)),),))
        found = index_of(ctx, op, flat, 0, False)
        if not keepdim:
            return found
        return ctx.call("reshape", found, params=((1,) * len(value.shape),))

    return convert


def _topk(
    ctx: Context, x: Any, k: int, dim: int = -1, largest: bool = True, sorted: bool = True
) -> list[Value]:
    """One after the other; each is left out of those that follow."""
    value = ctx.tensor(x)
    if k > MOST_FIRST:
        raise ctx.fail(
            f"the first {k} of these: of integers, or of so many, up to {MOST_FIRST} can"
        )
    axis = int(dim) % len(value.shape)
    op, last = ("reduce_max", -np.inf) if largest else ("reduce_min", np.inf)
    positions = _positions(ctx, value, axis)
    taken: Value | None = None
    values, indices = [], []
    for _ in range(k):
        left = value if taken is None else ctx.call("where", taken, float(last), value)
        extreme = reduce(ctx, op, left, (axis,), True)
        index = _index(ctx, value, extreme, axis, taken)
        here = ctx.call("equal", positions, index)
        taken = here if taken is None else ctx.call("max", taken, here)
        values.append(extreme)
        indices.append(index)
    return [ctx.call("concat", *v, params=(axis,)) for v in (values, indices)]


def extreme(op: str, pairwise: str) -> Callable[..., Any]:
    """max and min: of everything, of two tensors, or of an axis with its index."""

    def convert(ctx: Context, x: Any, dim: Any = None, keepdim: bool = False) -> Any:
        if dim is None:
            return reduce(ctx, op, ctx.tensor(x), ctx.axes(x, None), False)
        if not isinstance(dim, int):
            return ctx.call(pairwise, ctx.plain(x), ctx.plain(dim))
        value, (axis,) = ctx.tensor(x), ctx.axes(x, dim)
        found = [reduce(ctx, op, value, (axis,), keepdim)]
        # Indices that nobody asks for are not computed.
        if any(1 in user.args[1:] for user in ctx.node.users):
            found.append(index_of(ctx, op, value, axis, keepdim))
        return found

    return convert


#: PyTorch operator -> converter of plain values.
INDICES: dict[str, Callable[..., Any]] = {
    "argmax": _arg("reduce_max"),
    "argmin": _arg("reduce_min"),
    "topk": _topk,
    "max": extreme("reduce_max", "max"),
    "min": extreme("reduce_min", "min"),
}
