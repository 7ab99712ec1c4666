"""Converters of pools and means."""

from typing import Any

import numpy as np

from bnn_compiler.frontend import general
from bnn_compiler.frontend.pytorch.context import Context, pair, row_pair
from bnn_compiler.frontend.value import Value
from bnn_compiler.ops.rounding import ceil_div


def _more(size: int, kernel: int, stride: int, padding: int, dilation: int) -> int:
    """What ceil_mode adds behind: the last window must begin before what pads the end."""
    reach = dilation * (kernel - 1) + 1
    count = ceil_div(size + 2 * padding - reach, stride) + 1
    if (count - 1) * stride >= size + padding:
        count -= 1
    return max(0, (count - 1) * stride + reach - size - 2 * padding)


def _behind(ctx: Context, x: Value, ceil_mode: bool, *sizes: list[int]) -> list[int]:
    """Rows and columns that ceil_mode adds."""
    if not ceil_mode:
        return [0, 0]
    if x.flat:
        raise ctx.fail("needs an image")
    return [_more(*each) for each in zip(x.shape[2:], *sizes, strict=True)]


def _sums(a: list[int], b: list[int]) -> list[int]:
    return [x + y for x, y in zip(a, b, strict=True)]


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
    value, strides = ctx.data(x), pair(stride or kernel)
    sizes = pair(kernel), strides, pair(padding), pair(dilation)
    more = _behind(ctx, value, ceil_mode, *sizes)
    (top, left), (bottom, right) = pair(padding), _sums(pair(padding), more)
    return ctx.builder.max_pool2d(
        value,
        pair(kernel),
        strides=strides,
        padding=[top, left, bottom, right],
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
    """aten.avg_pool2d. What ceil_mode adds never counts."""
    value, strides, widths = ctx.data(x), pair(stride or kernel), pair(padding)
    more = _behind(ctx, value, ceil_mode, pair(kernel), strides, widths, [1, 1])
    if any(more) and count_include_pad and any(widths):
        value, widths = ctx.builder.pad(value, (*widths, *widths), 0.0), [0, 0]
    (top, left), (bottom, right) = widths, _sums(widths, more)
    pooled = ctx.builder.avg_pool2d(
        value,
        pair(kernel),
        strides=strides,
        padding=[top, left, bottom, right],
        count_include_pad=(count_include_pad and not any(more)) or divisor is not None,
    )
    if divisor is None:
        return pooled
    high, wide = pair(kernel)
    return ctx.builder.multiply(pooled, np.asarray(high * wide / divisor, np.float32))


def max_pool1d(
    ctx: Context,
    x: Any,
    kernel: Any,
    stride: Any = (),
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
) -> Value:
    """aten.max_pool1d: [N, C, L] is an image of one row."""
    strides, widths = row_pair(stride or kernel, 1), row_pair(padding, 0)
    return max_pool2d(
        ctx, x, row_pair(kernel, 1), strides, widths, row_pair(dilation, 1), ceil_mode
    )


def avg_pool1d(
    ctx: Context,
    x: Any,
    kernel: Any,
    stride: Any = (),
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Value:
    """aten.avg_pool1d."""
    strides, widths = row_pair(stride or kernel, 1), row_pair(padding, 0)
    return avg_pool2d(ctx, x, row_pair(kernel, 1), strides, widths, ceil_mode, count_include_pad)


def adaptive_avg_pool2d(ctx: Context, x: Any, size: Any) -> Value:
    """Means of windows that cover the image; of unequal sizes where they must be."""
    wanted = _wanted(ctx)
    value = ctx.data(x)
    if wanted == [1, 1]:
        return ctx.builder.global_mean(value)
    if not any(n % w for n, w in zip(value.shape[2:], wanted, strict=True)):
        kernel = [n // w for n, w in zip(value.shape[2:], wanted, strict=True)]
        return ctx.builder.avg_pool2d(value, kernel, strides=kernel)
    counts = np.ones((1, 1), np.float32)
    found = value
    for axis, w in ((2, wanted[0]), (3, wanted[1])):
        found, windows = _windows(ctx, found, axis, w, "sum")
        number = np.asarray(windows, np.float32)
        counts = counts * (number[:, None] if axis == 2 else number[None, :])
    return general.call(ctx.builder, "mul", [found, np.float32(1) / counts])


def adaptive_max_pool2d(ctx: Context, x: Any, size: Any) -> Value:
    """Maxima of windows that cover the image; the first result."""
    value, wanted = ctx.data(x), [int(v) for v in pair(size)]
    found = value
    for axis, w in ((2, wanted[0]), (3, wanted[1])):
        found, _ = _windows(ctx, found, axis, w, "reduce_max")
    return found


def _wanted(ctx: Context) -> list[int]:
    return [int(v) for v in ctx.node.meta["val"].shape[2:]]


def _windows(ctx: Context, x: Value, axis: int, count: int, op: str) -> tuple[Value, list[int]]:
    """An axis reduced to ``count`` windows, and how many elements each has."""
    n = x.shape[axis]
    bounds = [(i * n // count, ceil_div((i + 1) * n, count)) for i in range(count)]
    longest = max(last - first for first, last in bounds)
    source = x
    if op == "sum":
        # Shorter windows read zeros behind the last element.
        after = tuple(int(i == axis) for i in range(4))
        source = general.call(ctx.builder, "pad", [x], (0,) * 4, after, 0.0)
    rest = [n if op == "sum" else last - 1 for _, last in bounds]
    at = [
        [*range(first, last), *[r] * (longest - (last - first))]
        for (first, last), r in zip(bounds, rest, strict=True)
    ]
    taken = general.call(ctx.builder, "take", [source, np.asarray(at, np.float32)], axis)
    return general.call(ctx.builder, op, [taken], (axis + 1,)), [b - a for a, b in bounds]


def mean(ctx: Context, x: Any, dims: Any = None, keepdim: bool = False, dtype: Any = None) -> Value:
    """The mean over height and width; importing checks ``dtype`` for every operator."""
    value = ctx.data(x)
    if value.flat or dims is None or sorted(d % 4 for d in dims) != [2, 3]:
        raise ctx.fail(f"mean over {dims}; only the mean over height and width can be compiled")
    return ctx.builder.global_mean(value, flat=not keepdim)
