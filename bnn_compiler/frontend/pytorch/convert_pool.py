"""Converters of pools and means."""

from typing import Any

from bnn_compiler.frontend.pytorch.context import Context, pair
from bnn_compiler.frontend.value import Value


def _padding(ctx: Context, padding: Any, ceil_mode: bool) -> list[int]:
    if ceil_mode:
        raise ctx.fail("ceil_mode=True cannot be compiled")
    return pair(padding) * 2


def max_pool2d(
    ctx: Context,
    x: Any,
    kernel: Any,
    stride: Any = (),
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
) -> Value:
    """aten.max_pool2d and the first result of aten.max_pool2d_with_indices."""
    return ctx.builder.max_pool2d(
        ctx.data(x),
        pair(kernel),
        strides=pair(stride or kernel),
        padding=_padding(ctx, padding, ceil_mode),
        dilation=pair(dilation),
    )


def avg_pool2d(
    ctx: Context,
    x: Any,
    kernel: Any,
    stride: Any = (),
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor: Any = None,
) -> Value:
    """aten.avg_pool2d."""
    if divisor is not None:
        raise ctx.fail("divisor_override cannot be compiled")
    return ctx.builder.avg_pool2d(
        ctx.data(x),
        pair(kernel),
        strides=pair(stride or kernel),
        padding=_padding(ctx, padding, ceil_mode),
        count_include_pad=count_include_pad,
    )


def adaptive_avg_pool2d(ctx: Context, x: Any, size: Any) -> Value:
    """The mean over height and width."""
    if pair(size) != [1, 1]:
        raise ctx.fail(f"output size {size}; only 1 can be compiled")
    return ctx.builder.global_mean(ctx.data(x))


def mean(ctx: Context, x: Any, dims: Any = None, keepdim: bool = False, dtype: Any = None) -> Value:
    """The mean over height and width; importing checks ``dtype`` for every operator."""
    value = ctx.data(x)
    if value.flat or dims is None or sorted(d % 4 for d in dims) != [2, 3]:
        raise ctx.fail(f"mean over {dims}; only the mean over height and width can be compiled")
    return ctx.builder.global_mean(value, flat=not keepdim)
