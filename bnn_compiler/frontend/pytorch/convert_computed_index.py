"""Converters of indexing by tensors that are computed at run time.

An index beyond an end is some element, not an error; one below 0 counts from the end.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from bnn_compiler.frontend.general import Operand
from bnn_compiler.frontend.pytorch.context import Context
from bnn_compiler.frontend.value import Value

#: Indices are floats while they are computed.
_EXACT = 2**24
_MASKS = ("torch.bool", "torch.uint8")


def is_computed(ctx: Context, indices: Sequence[Any]) -> bool:
    """Whether one of them is no constant."""
    return any(i is not None and ctx.constant(i) is None for i in indices)


def _whole(ctx: Context, index: Any, size: int) -> Operand:
    """Counted from the first of ``size`` elements."""
    if str(index.meta["val"].dtype) in _MASKS:
        raise ctx.fail(
            "how many elements a mask keeps that is computed at run time is not known before;"
            " torch.where(mask, x, 0) keeps the shape"
        )
    constant = ctx.constant(index)
    if constant is not None:
        return np.where(constant < 0, constant + size, constant).astype(np.float32)
    value = ctx.tensor(index)
    below = ctx.call("less", value, 0.0)
    return ctx.call("where", below, ctx.call("add", value, float(size)), value)


def check(ctx: Context, count: int) -> None:
    """Raise UnsupportedError if an index among ``count`` elements would not be exact."""
    if count > _EXACT:
        raise ctx.fail(
            f"an index among {count} elements; up to {_EXACT} can be compiled, because indices are"
            " float32"
        )


def index(ctx: Context, x: Value, indices: Sequence[Any]) -> Value:
    """x[..., index, ...] by tensors of integers, some of them computed."""
    axes = [a for a, i in enumerate(indices) if i is not None]
    found = [_whole(ctx, indices[a], x.shape[a]) for a in axes]
    if len(axes) == 1:
        check(ctx, x.shape[axes[0]])
        return ctx.call("take", x, found[0], params=(axes[0],))
    neighbours = axes == list(range(axes[0], axes[-1] + 1))
    first = axes[0] if neighbours else 0
    kept = [a for a in range(len(x.shape)) if a not in axes]
    order = (*kept[:first], *axes, *kept[first:])
    sizes = [x.shape[a] for a in axes]
    check(ctx, math.prod(sizes))
    shape = [x.shape[a] for a in kept]
    merged = ctx.call("permute", x, params=(order,))
    shape.insert(first, math.prod(sizes))
    merged = ctx.call("reshape", merged, params=(tuple(shape),))
    strides = [math.prod(sizes[k + 1 :]) for k in range(len(sizes))]
    return ctx.call("take", merged, _position(ctx, found, strides), params=(first,))


def _position(ctx: Context, indices: Sequence[Operand], strides: Sequence[int]) -> Operand:
    """The sum of indices times strides, broadcast."""
    total: Operand = 0.0
    for at, stride in zip(indices, strides, strict=True):
        if isinstance(at, np.ndarray) and isinstance(total, float | np.ndarray):
            total = np.asarray(total + at * np.float32(stride), np.float32)
            continue
        part = at if stride == 1 else ctx.call("mul", at, float(stride))
        total = part if isinstance(total, float) else ctx.call("add", total, part)
    return total


def _gather(ctx: Context, x: Any, dim: int, index: Any, **__: Any) -> Value:
    """By one computed index; moves.py has those of constant ones."""
    value, axis = ctx.tensor(x), dim % max(len(ctx.any(x).shape), 1)
    check(ctx, math.prod(value.shape))
    at = _whole(ctx, index, value.shape[axis])
    shape = tuple(int(n) for n in index.meta["val"].shape)
    strides = [math.prod(value.shape[k + 1 :]) for k in range(len(value.shape))]
    own = np.zeros((1,) * len(shape), np.float32)
    for k, (n, stride) in enumerate(zip(shape, strides, strict=True)):
        if k != axis:
            own = own + np.float32(stride) * np.arange(n, dtype=np.float32).reshape(
                -1, *[1] * (len(shape) - 1 - k)
            )
    flat = ctx.call("reshape", value, params=((math.prod(value.shape),),))
    position = _position(ctx, [at, own], [strides[axis], 1])
    return ctx.call("take", flat, position, params=(0,))


#: PyTorch operator -> converter of plain values.
COMPUTED: dict[str, Callable[..., Any]] = {"gather": _gather}
