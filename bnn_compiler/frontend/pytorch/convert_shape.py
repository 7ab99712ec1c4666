"""Converters of operators that move values without computing: reshape, concat, pad, resize."""

from collections.abc import Callable, Sequence
from typing import Any

from bnn_compiler.frontend.pytorch.context import Context
from bnn_compiler.frontend.value import Value


def cat(ctx: Context, tensors: Any, dim: int = 0) -> Value:
    """Concatenation of channels or of features."""
    values = [ctx.data(t) for t in tensors]
    if dim % (2 if values[0].flat else 4) != 1:
        raise ctx.fail(f"dim={dim}; only channels (dim=1) can be concatenated")
    return ctx.builder.concat(values)


def reshape(ctx: Context, x: Any, *_: Any) -> Value:
    """view, reshape, flatten, squeeze, unsqueeze: the shape is in the node's meta."""
    return ctx.builder.reshape(ctx.data(x), [int(v) for v in ctx.node.meta["val"].shape])


def pad(ctx: Context, x: Any, pads: Any, mode: Any = "constant", value: Any = 0) -> Value:
    """Constant padding of height and width."""
    source = ctx.data(x)
    if mode != "constant":
        raise ctx.fail(f"mode {mode!r}; only constant padding can be compiled")
    return _constant_pad(ctx, source, [int(v) for v in pads], float(value or 0.0))


def constant_pad(ctx: Context, x: Any, pads: Any, value: float = 0) -> Value:
    """aten.constant_pad_nd."""
    return _constant_pad(ctx, ctx.data(x), [int(v) for v in pads], float(value))


def _constant_pad(ctx: Context, x: Value, widths: Sequence[int], fill: float) -> Value:
    if x.flat or any(widths[4:]):
        raise ctx.fail(f"padding {list(widths)}; only height and width of images can be padded")
    if min(widths, default=0) < 0:
        raise ctx.fail(f"padding {list(widths)} crops; only widths from 0 on can be compiled")
    left, right, top, bottom = [*widths[:4], *[0] * (4 - len(widths))]
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
    return ctx.data(x)
