"""Converters of operators that move values without computing: reshape, concat, slice, pad..."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from bnn_compiler.frontend.pytorch.context import Context
from bnn_compiler.frontend.value import Value


def cat(ctx: Context, tensors: Any, dim: int = 0) -> Value:
    """Concatenation of channels or of features."""
    if dim % ctx.node.meta["val"].dim() != 1:
        raise ctx.fail(f"dim={dim}; only channels (dim=1) can be concatenated")
    fills = [_fill(ctx, t) for t in tensors]
    computed = [i for i, fill in enumerate(fills) if fill is None]
    if not computed:
        raise ctx.fail("it joins constants only")
    first, last = computed[0], computed[-1]
    values = [ctx.data(t) for t in tensors[first : last + 1]]
    if len(values) == 1:
        joined = values[0]
    elif all(v.expr.same_as(values[0].expr) for v in values):
        count = values[0].shape[1]
        joined = ctx.builder.channels(values[0], 0, count * len(values))
    else:
        joined = ctx.builder.concat(values)
    # Constants at the ends are padding, the innermost first.
    for width, fill in reversed(_widths(tensors[:first], fills[:first])):
        joined = ctx.builder.pad_channels(joined, width, 0, fill)
    for width, fill in _widths(tensors[last + 1 :], fills[last + 1 :]):
        joined = ctx.builder.pad_channels(joined, 0, width, fill)
    return joined


def _fill(ctx: Context, tensor: Any) -> float | None:
    """The one number that a constant tensor holds; None for a computed one."""
    constant = ctx.constant(tensor)
    if constant is None:
        return None
    values = np.unique(constant)
    if values.size != 1:
        raise ctx.fail("it joins a constant of several values; only one number can be padded with")
    return float(values[0])


def _widths(tensors: Sequence[Any], fills: Sequence[float | None]) -> list[tuple[int, float]]:
    """(channels, number) of neighbouring constants, those of equal numbers together."""
    found: list[tuple[int, float]] = []
    for tensor, fill in zip(tensors, fills, strict=True):
        width = int(tensor.meta["val"].shape[1])
        if found and found[-1][1] == fill:
            found[-1] = (found[-1][0] + width, found[-1][1])
        else:
            found.append((width, float(fill or 0.0)))
    return found


def channel_slice(
    ctx: Context, x: Any, dim: int = 0, start: Any = None, end: Any = None, step: int = 1
) -> Value:
    """Channels or features [start, end); of an image every step-th row or column from the first."""
    source = ctx.data(x)
    size = source.shape[dim]
    kept = range(size)[slice(start, end, step)]
    if len(kept) == size and step == 1:
        return source
    if dim % 4 in (2, 3) and len(source.shape) == 4 and kept == range(0, size, step):
        # A pool of single pixels.
        strides = (step, 1) if dim % 4 == 2 else (1, step)
        return ctx.builder.max_pool2d(source, (1, 1), strides=strides)
    if dim % len(source.shape) != 1 or step != 1:
        raise ctx.fail(
            f"[{start}:{end}:{step}] of dim={dim}; only channels (dim=1) by steps of 1 can be cut"
        )
    if not kept:
        raise ctx.fail("it keeps no channel")
    return ctx.builder.channels(source, kept.start, len(kept))


def repeat(ctx: Context, x: Any, sizes: Any) -> Value:
    """Channels or features again and again."""
    source = ctx.data(x)
    batch, times, *rest = (int(s) for s in sizes)
    if len(sizes) != len(source.shape) or any(s != 1 for s in (batch, *rest)):
        raise ctx.fail(f"repeated {list(sizes)} times; only channels (dim=1) can be repeated")
    return ctx.builder.channels(source, 0, times * source.shape[1])


def reshape(ctx: Context, x: Any, *_: Any) -> Value:
    """view, reshape, flatten, squeeze, unsqueeze: the shape is in the node's meta."""
    return ctx.builder.reshape(ctx.data(x), [int(v) for v in ctx.node.meta["val"].shape])


def pad(ctx: Context, x: Any, pads: Any, mode: Any = "constant", value: Any = 0) -> Value:
    """Constant padding of height, width and channels."""
    source = ctx.data(x)
    if mode != "constant":
        raise ctx.fail(f"mode {mode!r}; only constant padding can be compiled")
    return _constant_pad(ctx, source, [int(v) for v in pads], float(value or 0.0))


def constant_pad(ctx: Context, x: Any, pads: Any, value: float = 0) -> Value:
    """aten.constant_pad_nd."""
    return _constant_pad(ctx, ctx.data(x), [int(v) for v in pads], float(value))


def _constant_pad(ctx: Context, x: Value, widths: Sequence[int], fill: float) -> Value:
    full = [*widths, *[0] * (2 * len(x.shape) - len(widths))]
    *around, before, after, first, last = full
    if first or last:
        raise ctx.fail(f"padding {list(widths)}; images cannot be added to a batch")
    if min(around, default=0) < 0:
        raise ctx.fail(f"padding {list(widths)} crops; only channels can be cut by padding")
    if min(before, after) < 0:
        left = x.shape[1] + min(before, 0) + min(after, 0)
        x = ctx.builder.channels(x, max(-before, 0), left)
    if max(before, after) > 0:
        x = ctx.builder.pad_channels(x, max(before, 0), max(after, 0), fill)
    if not any(around):
        return x
    left, right, top, bottom = around
    return ctx.builder.pad(x, (top, left, bottom, right), fill)


def nearest(transform: str) -> Callable[..., Value]:
    """upsample_nearest2d ("asymmetric") and _upsample_nearest_exact2d ("half_pixel")."""

    def convert(ctx: Context, x: Any, size: Any, *factors: Any) -> Value:
        return _resize(ctx, x, "nearest_neighbor", transform, factors)

    return convert


def bilinear(ctx: Context, x: Any, size: Any, align_corners: bool, *factors: Any) -> Value:
    """aten.upsample_bilinear2d."""
    transform = "align_corners" if align_corners else "half_pixel"
    return _resize(ctx, x, "linear", transform, factors)


def _resize(ctx: Context, x: Any, method: str, transform: str, given: Sequence[Any]) -> Value:
    """``given`` is one list (overload vec) or two numbers: how far the samples lie apart.

    None means the quotient of the sizes.
    """
    source = ctx.data(x)
    listed = given[0] if len(given) == 1 else given
    factors = [float(f or 0.0) for f in listed or (None, None)]
    size = [int(v) for v in ctx.node.meta["val"].shape[2:]]
    # PyTorch's kernel for small images takes an axis of the same or twice the size as exactly that.
    if transform == "asymmetric" and sum(size) <= 128:
        for axis, (new, old) in enumerate(zip(size, source.shape[2:], strict=True)):
            if new in (old, 2 * old):
                factors[axis] = 0.0
    return ctx.builder.resize2d(source, size, method, transform, factors)


def first(ctx: Context, x: Any, index: int) -> Value:
    """The first result of an operator that has several."""
    if index != 0:
        raise ctx.fail("only the first result of this operator can be used")
    return ctx.any(x)
