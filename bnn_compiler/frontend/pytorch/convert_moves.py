"""Converters that move the elements of tensors of any rank without computing."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from bnn_compiler.frontend import general
from bnn_compiler.frontend.pytorch.context import Context
from bnn_compiler.frontend.value import Value


def _wanted(ctx: Context) -> tuple[int, ...]:
    """The shape of the node's result, as PyTorch has it."""
    return tuple(int(v) for v in ctx.node.meta["val"].shape)


def _reshape(ctx: Context, x: Any, *_: Any, **__: Any) -> Value:
    image, wanted = ctx.any(x).image, _wanted(ctx)
    if image is not None and image.shape == wanted:
        return image
    source = ctx.any(x)
    if not source.plain and len(wanted) == 3 and source.shape == (*wanted[:2], 1, wanted[2]):
        return general.row(ctx.builder, source)
    return ctx.call("reshape", ctx.tensor(x), params=(_wanted(ctx),))


def _expand(ctx: Context, x: Any, *_: Any, **__: Any) -> Value:
    return ctx.call("expand", ctx.tensor(x), params=(_wanted(ctx),))


def _permute(ctx: Context, x: Any, dims: Sequence[int]) -> Value:
    value = ctx.tensor(x)
    axes = tuple(int(d) % len(value.shape) for d in dims)
    return ctx.call("permute", value, params=(axes,))


def _transpose(ctx: Context, x: Any, first: int, second: int) -> Value:
    axes = list(range(len(ctx.any(x).shape)))
    axes[first], axes[second] = axes[second], axes[first]
    return _permute(ctx, x, axes)


def _turned(ctx: Context, x: Any) -> Value:
    return _permute(ctx, x, range(len(ctx.any(x).shape))[::-1])


def _cut(ctx: Context, x: Value, dim: int, start: int, count: int, step: int = 1) -> Value:
    axis, n = dim % len(x.shape), len(x.shape)
    starts = tuple(start if i == axis else 0 for i in range(n))
    steps = tuple(step if i == axis else 1 for i in range(n))
    sizes = tuple(count if i == axis else size for i, size in enumerate(x.shape))
    return ctx.call("slice", x, params=(starts, steps, sizes))


def _slice(
    ctx: Context, x: Any, dim: int = 0, start: Any = None, end: Any = None, step: int = 1
) -> Value:
    value = ctx.tensor(x)
    kept = range(value.shape[dim])[slice(start, end, step)]
    if not kept:
        raise ctx.fail("it keeps no element")
    return _cut(ctx, value, dim, kept.start, len(kept), step)


def _select(ctx: Context, x: Any, dim: int, index: int) -> Value:
    value = ctx.tensor(x)
    part = _cut(ctx, value, dim, index % value.shape[dim], 1)
    return ctx.call("reshape", part, params=(_wanted(ctx),))


def _narrow(ctx: Context, x: Any, dim: int, start: int, length: int) -> Value:
    return _cut(ctx, ctx.tensor(x), dim, start, length)


def _split(ctx: Context, x: Any, sizes: Any, dim: int = 0) -> list[Value]:
    value = ctx.tensor(x)
    total = value.shape[dim]
    if isinstance(sizes, int):
        sizes = [min(sizes, total - first) for first in range(0, total, sizes)]
    firsts = np.cumsum([0, *sizes[:-1]]).tolist()
    return [_cut(ctx, value, dim, f, int(n)) for f, n in zip(firsts, sizes, strict=True)]


def _chunk(ctx: Context, x: Any, chunks: int, dim: int = 0) -> list[Value]:
    return _split(ctx, x, -(-ctx.any(x).shape[dim] // chunks), dim)


def _unbind(ctx: Context, x: Any, dim: int = 0) -> list[Value]:
    value = ctx.tensor(x)
    axis = dim % len(value.shape)
    shape = value.shape[:axis] + value.shape[axis + 1 :]
    parts = [_cut(ctx, value, axis, i, 1) for i in range(value.shape[axis])]
    return [ctx.call("reshape", p, params=(shape,)) for p in parts]


def _join(ctx: Context, tensors: Sequence[Any], dim: int, *, new: bool) -> Value:
    parts = [ctx.plain(t) for t in tensors]
    known = [p.shape if isinstance(p, Value) else np.shape(p) for p in parts]
    axis = dim % (len(known[0]) + new)
    if new:
        shapes = [(*s[:axis], 1, *s[axis:]) for s in known]
        parts = [ctx.call("reshape", p, params=(s,)) for p, s in zip(parts, shapes, strict=True)]
    return ctx.call("concat", *parts, params=(axis,))


def _cat(ctx: Context, tensors: Any, dim: int = 0) -> Value:
    return _join(ctx, tensors, dim, new=False)


def _stack(ctx: Context, tensors: Any, dim: int = 0) -> Value:
    return _join(ctx, tensors, dim, new=True)


def _take(ctx: Context, x: Value, axis: int, indices: Sequence[int]) -> Value:
    return ctx.call("take", x, np.asarray(indices, np.float32), params=(axis,))


def _repeat(ctx: Context, x: Any, sizes: Sequence[int]) -> Value:
    value = ctx.tensor(x)
    shape = (*[1] * (len(sizes) - len(value.shape)), *value.shape)
    doubled = tuple(n for pair in zip([1] * len(shape), shape, strict=True) for n in pair)
    wide = tuple(n for pair in zip(sizes, shape, strict=True) for n in pair)
    parts = ctx.call("reshape", value, params=(doubled,))
    return ctx.call("reshape", ctx.call("expand", parts, params=(wide,)), params=(_wanted(ctx),))


def _repeat_interleave(ctx: Context, x: Any, repeats: Any, dim: Any = None, **__: Any) -> Value:
    value = ctx.tensor(x)
    if not isinstance(repeats, int):
        raise ctx.fail("it repeats a computed number of times; one constant can be compiled")
    if dim is None:
        value = ctx.call("reshape", value, params=((math.prod(value.shape),),))
        dim = 0
    axis = dim % len(value.shape)
    return _take(ctx, value, axis, np.repeat(np.arange(value.shape[axis]), repeats).tolist())


def _flip(ctx: Context, x: Any, dims: Any) -> Value:
    value = ctx.tensor(x)
    for dim in dims:
        axis = int(dim) % len(value.shape)
        last = value.shape[axis] - 1
        value = _cut(ctx, value, axis, last, last + 1, -1)
    return value


def _roll(ctx: Context, x: Any, shifts: Any, dims: Any = ()) -> Value:
    value = ctx.tensor(x)
    shape = value.shape
    if not dims:
        value, dims = ctx.call("reshape", value, params=((math.prod(shape),),)), [0]
    for shift, dim in zip(_listed(shifts), _listed(dims), strict=True):
        axis = int(dim) % len(value.shape)
        n = value.shape[axis]
        first = -int(shift) % n
        if first:
            ends = (_cut(ctx, value, axis, first, n - first), _cut(ctx, value, axis, 0, first))
            value = ctx.call("concat", *ends, params=(axis,))
    return ctx.call("reshape", value, params=(shape,))


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value]


def _pad(ctx: Context, x: Any, pads: Any, mode: str = "constant", value: Any = 0) -> Value:
    """F.pad: widths before and after, of the last dimension first."""
    found = ctx.tensor(x)
    n = len(found.shape)
    widths = [(0, 0)] * n
    for i in range(len(pads) // 2):
        widths[n - 1 - i] = (int(pads[2 * i]), int(pads[2 * i + 1]))
    for axis, (before, after) in enumerate(widths):
        cut = max(-before, 0), max(-after, 0)
        if any(cut):
            found = _cut(ctx, found, axis, cut[0], found.shape[axis] - sum(cut))
    widths = [(max(b, 0), max(a, 0)) for b, a in widths]
    if mode == "constant":
        ends = tuple(zip(*widths, strict=True))
        return ctx.call("pad", found, params=(*ends, float(value or 0)))
    names = {"reflect": "reflect", "replicate": "edge", "circular": "wrap"}
    if mode not in names:
        raise ctx.fail(f"mode {mode!r}; constant, {', '.join(names)} can be compiled")
    for axis, width in enumerate(widths):
        if any(width):
            at = np.pad(np.arange(found.shape[axis]), width, mode=names[mode])  # type: ignore[call-overload]
            found = _take(ctx, found, axis, at.tolist())
    return found


def _pad_like(mode: str) -> Callable[..., Value]:
    def convert(ctx: Context, x: Any, pads: Any) -> Value:
        return _pad(ctx, x, pads, mode)

    return convert


def _constant_pad(ctx: Context, x: Any, pads: Any, value: float = 0) -> Value:
    return _pad(ctx, x, pads, "constant", value)


def _pixel_shuffle(ctx: Context, x: Any, factor: int) -> Value:
    value = ctx.tensor(x)
    *lead, c, h, w = value.shape
    k, r = len(lead), factor
    parts = ctx.call("reshape", value, params=((*lead, c // (r * r), r, r, h, w),))
    axes = (*range(k), k, k + 3, k + 1, k + 4, k + 2)
    turned = ctx.call("permute", parts, params=(axes,))
    return ctx.call("reshape", turned, params=(_wanted(ctx),))


def _pixel_unshuffle(ctx: Context, x: Any, factor: int) -> Value:
    value = ctx.tensor(x)
    *lead, c, h, w = value.shape
    k, r = len(lead), factor
    parts = ctx.call("reshape", value, params=((*lead, c, h // r, r, w // r, r),))
    axes = (*range(k), k, k + 2, k + 4, k + 1, k + 3)
    turned = ctx.call("permute", parts, params=(axes,))
    return ctx.call("reshape", turned, params=(_wanted(ctx),))


def _channel_shuffle(ctx: Context, x: Any, groups: int) -> Value:
    value = ctx.tensor(x)
    n, c, *rest = value.shape
    parts = ctx.call("reshape", value, params=((n, groups, c // groups, *rest),))
    axes = (0, 2, 1, *range(3, 3 + len(rest)))
    turned = ctx.call("permute", parts, params=(axes,))
    return ctx.call("reshape", turned, params=(value.shape,))


def _index_select(ctx: Context, x: Any, dim: int, index: Any) -> Value:
    value = ctx.tensor(x)
    axis = dim % len(value.shape)
    return ctx.call("take", value, _indices(ctx, index, value.shape[axis]), params=(axis,))


def _indices(ctx: Context, index: Any, size: int) -> np.ndarray:
    constant = ctx.constant(index)
    if constant is None:
        raise ctx.fail("its indices are computed at run time; constant ones can be compiled")
    return np.where(constant < 0, constant + size, constant).astype(np.float32)


def _index(ctx: Context, x: Any, indices: Sequence[Any]) -> Value:
    """x[..., index, ...] with one constant tensor of integers."""
    given = [(axis, i) for axis, i in enumerate(indices) if i is not None]
    if len(given) != 1 or str(given[0][1].meta["val"].dtype) == "torch.bool":
        raise ctx.fail("one constant tensor of integers can index")
    ((axis, index),) = given
    value = ctx.tensor(x)
    return ctx.call("take", value, _indices(ctx, index, value.shape[axis]), params=(axis,))


#: PyTorch operator -> converter of plain values.
MOVES: dict[str, Callable[..., Any]] = {
    **dict.fromkeys(
        ("view", "reshape", "flatten", "unflatten", "_unsafe_view", "squeeze", "unsqueeze"),
        _reshape,
    ),
    **dict.fromkeys(("expand", "expand_as", "broadcast_to"), _expand),
    "permute": _permute,
    "transpose": _transpose,
    "swapaxes": _transpose,
    "t": _turned,
    "numpy_T": _turned,
    "slice": _slice,
    "select": _select,
    "narrow": _narrow,
    "split": _split,
    "split_with_sizes": _split,
    "chunk": _chunk,
    "unbind": _unbind,
    **dict.fromkeys(("cat", "concat", "concatenate"), _cat),
    "stack": _stack,
    "repeat": _repeat,
    "tile": _repeat,
    "repeat_interleave": _repeat_interleave,
    "flip": _flip,
    "roll": _roll,
    "pad": _pad,
    "constant_pad_nd": _constant_pad,
    **{f"reflection_pad{n}d": _pad_like("reflect") for n in (1, 2, 3)},
    **{f"replication_pad{n}d": _pad_like("replicate") for n in (1, 2, 3)},
    "pixel_shuffle": _pixel_shuffle,
    "pixel_unshuffle": _pixel_unshuffle,
    "channel_shuffle": _channel_shuffle,
    "native_channel_shuffle": _channel_shuffle,
    "index_select": _index_select,
    "index": _index,
}
