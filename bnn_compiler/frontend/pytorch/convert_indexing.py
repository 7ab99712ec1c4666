"""Converters of indexing by constant tensors; convert_computed_index.py has computed ones."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bnn_compiler.frontend.pytorch import convert_computed_index as computed
from bnn_compiler.frontend.pytorch.context import Context
from bnn_compiler.frontend.value import Value

Indices = NDArray[np.int64]


def take(ctx: Context, x: Value, axis: int, indices: Any) -> Value:
    """numpy's take, by indices of any shape, within the axis."""
    computed.check(ctx, x.shape[axis])
    return ctx.call("take", x, np.asarray(indices, np.float32), params=(axis,))


def _known(ctx: Context, index: Any) -> NDArray[Any]:
    constant = ctx.constant(index)
    if constant is None:
        raise ctx.fail("its indices are computed at run time; constant ones can be compiled")
    return constant


def _within(index: NDArray[Any], size: int) -> Indices:
    """Counted from the first element."""
    whole = index.astype(np.int64)
    return np.where(whole < 0, whole + size, whole)


def _index_select(ctx: Context, x: Any, dim: int, index: Any) -> Value:
    value = ctx.tensor(x)
    axis = dim % len(value.shape)
    if computed.is_computed(ctx, [index]):
        return computed.index(ctx, value, [*[None] * axis, index])
    return take(ctx, value, axis, _within(_known(ctx, index), value.shape[axis]))


def _repeat_interleave(ctx: Context, x: Any, repeats: Any, dim: Any = None, **__: Any) -> Value:
    value, times = ctx.tensor(x), _known(ctx, repeats).astype(np.int64)
    if dim is None:
        value = ctx.call("reshape", value, params=((math.prod(value.shape),),))
        dim = 0
    axis = dim % len(value.shape)
    return take(ctx, value, axis, np.repeat(np.arange(value.shape[axis]), times))


def _index(ctx: Context, x: Any, indices: Sequence[Any]) -> Value:
    """x[..., index, ...] by one or more tensors of integers or of truth values."""
    value = ctx.tensor(x)
    if computed.is_computed(ctx, indices):
        return computed.index(ctx, value, indices)
    found = _of_axes(ctx, value, indices)
    shape = np.broadcast_shapes(*(i.shape for i in found.values()))
    full = {a: i.reshape((1,) * (len(shape) - i.ndim) + i.shape) for a, i in found.items()}
    if sum(n > 1 for i in full.values() for n in i.shape) <= sum(n > 1 for n in shape):
        return _each(ctx, value, full, shape)
    return _at_once(ctx, value, full, shape)


def _of_axes(ctx: Context, x: Value, indices: Sequence[Any]) -> dict[int, Indices]:
    """The index of each axis that has one; truth values are those of as many axes as they have."""
    found: dict[int, Indices] = {}
    axis = 0
    for index in indices:
        if index is None:
            axis += 1
            continue
        known = _known(ctx, index)
        if str(index.meta["val"].dtype) in ("torch.bool", "torch.uint8"):
            each = [np.asarray(i, np.int64) for i in np.nonzero(known)]
        else:
            each = [_within(known, x.shape[axis])]
        for one in each:
            found[axis] = one
            axis += 1
    return found


def _first(axes: Sequence[int]) -> int:
    """Where the indices' axes lie in the result: in front, unless the axes are neighbours."""
    return axes[0] if list(axes) == list(range(axes[0], axes[-1] + 1)) else 0


def _each(ctx: Context, x: Value, full: dict[int, Indices], shape: tuple[int, ...]) -> Value:
    """One axis after the other: each axis of the indices' common shape belongs to one of them."""
    axes = list(full)
    #: Of the result so far: axes of ``x``, and as negative numbers those of ``shape``.
    order: list[int] = list(range(len(x.shape)))
    for axis, index in full.items():
        own = [d for d, n in enumerate(index.shape) if n > 1]
        at = order.index(axis)
        x = take(ctx, x, at, index.reshape([index.shape[d] for d in own]))
        order[at : at + 1] = [d - len(shape) for d in own]
    dims = sorted(o for o in order if o < 0)
    kept = [o for o in order if o >= 0]
    first = sum(k < _first(axes) for k in kept)
    wanted = [*kept[:first], *dims, *kept[first:]]
    if wanted != order:
        x = ctx.call("permute", x, params=(tuple(order.index(w) for w in wanted),))
    whole = (*x.shape[:first], *shape, *x.shape[first + len(dims) :])
    return x if whole == x.shape else ctx.call("reshape", x, params=(whole,))


def _at_once(ctx: Context, x: Value, full: dict[int, Indices], shape: tuple[int, ...]) -> Value:
    """The axes as one, by one number for all of their indices."""
    axes, first = list(full), _first(list(full))
    kept = [a for a in range(len(x.shape)) if a not in full]
    wanted = [*kept[:first], *axes, *kept[first:]]
    sizes = [x.shape[a] for a in axes]
    if wanted != list(range(len(x.shape))):
        x = ctx.call("permute", x, params=(tuple(wanted),))
    merged = (*x.shape[:first], math.prod(sizes), *x.shape[first + len(axes) :])
    x = ctx.call("reshape", x, params=(merged,))
    indices = [np.broadcast_to(i, shape) for i in full.values()]
    return take(ctx, x, first, np.ravel_multi_index(indices, sizes))


#: PyTorch operator -> converter of plain values.
INDEXED: dict[str, Callable[..., Any]] = {
    "index_select": _index_select,
    "repeat_interleave": _repeat_interleave,
    "index": _index,
    **computed.COMPUTED,
}
