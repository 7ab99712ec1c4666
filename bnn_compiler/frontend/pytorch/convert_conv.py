"""Converters of convolutions: of one and two dimensions, transposed by phases."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bnn_compiler.frontend import general
from bnn_compiler.frontend.pytorch.context import Context, pair, row_pair
from bnn_compiler.frontend.value import Value
from bnn_compiler.ops.rounding import ceil_div


def _weight(ctx: Context, w: Any) -> NDArray[Any]:
    weight = ctx.constant(w)
    if weight is None:
        raise ctx.fail("its weight is computed at run time; only constant weights can be compiled")
    return weight


def bias_of(ctx: Context, bias: Any) -> NDArray[Any] | None:
    """A constant bias. Raises UnsupportedError for a computed one."""
    if bias is None:
        return None
    b = ctx.constant(bias)
    if b is None:
        raise ctx.fail("its bias is computed at run time")
    return b


def conv2d(
    ctx: Context,
    x: Any,
    w: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Value:
    """aten.conv2d."""
    weight = _weight(ctx, w)
    return ctx.builder.conv2d(
        ctx.data(x),
        weight,
        bias_of(ctx, bias),
        strides=pair(stride),
        padding=_padding(padding, weight.shape[2:], pair(dilation)),
        dilation=pair(dilation),
        groups=groups,
    )


def _padding(padding: Any, kernel: Sequence[int], dilation: Sequence[int]) -> list[int]:
    """(top, left, bottom, right); of an even "same" padding the larger half is behind."""
    if padding == "valid":
        return [0, 0, 0, 0]
    if padding == "same":
        total = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
        before = [t // 2 for t in total]
        return before + [t - b for t, b in zip(total, before, strict=True)]
    return pair(padding) * 2


def conv1d(
    ctx: Context,
    x: Any,
    w: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Value:
    """aten.conv1d: [N, C, L] is an image of one row."""
    weight = np.expand_dims(_weight(ctx, w), 2)
    wide = row_pair(dilation, 1)
    return ctx.builder.conv2d(
        ctx.data(x),
        weight,
        bias_of(ctx, bias),
        strides=row_pair(stride, 1),
        padding=_padding(padding, weight.shape[2:], wide)
        if isinstance(padding, str)
        else row_pair(padding, 0) * 2,
        dilation=wide,
        groups=groups,
    )


# ---- transposed


def conv_transpose2d(
    ctx: Context,
    x: Any,
    w: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> Value:
    """aten.conv_transpose2d."""
    sizes = [pair(v) for v in (stride, padding, output_padding, dilation)]
    return _transposed(ctx, ctx.data(x), _weight(ctx, w), bias_of(ctx, bias), groups, *sizes)


def conv_transpose1d(
    ctx: Context,
    x: Any,
    w: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> Value:
    """aten.conv_transpose1d."""
    given = ((stride, 1), (padding, 0), (output_padding, 0), (dilation, 1))
    sizes = [row_pair(v, beside) for v, beside in given]
    weight = np.expand_dims(_weight(ctx, w), 2)
    return _transposed(ctx, ctx.data(x), weight, bias_of(ctx, bias), groups, *sizes)


def _transposed(
    ctx: Context,
    x: Value,
    weight: NDArray[Any],
    bias: NDArray[Any] | None,
    groups: int,
    stride: Sequence[int],
    padding: Sequence[int],
    more: Sequence[int],
    dilation: Sequence[int],
) -> Value:
    """Weights [I, O / groups, KH, KW] become [O, I / groups, KH, KW] of a plain convolution."""
    i, o, kh, kw = weight.shape
    parts = weight.reshape(groups, i // groups, o, kh, kw).swapaxes(1, 2)
    kernel = np.ascontiguousarray(parts.reshape(groups * o, i // groups, kh, kw))
    size = [
        (n - 1) * s - 2 * p + d * (k - 1) + m + 1
        for n, s, p, d, k, m in zip(
            x.shape[2:], stride, padding, dilation, (kh, kw), more, strict=True
        )
    ]
    axes = [
        _Axis.phases(n, out, s, p, k) if d == 1 else None
        for n, out, s, p, k, d in zip(
            x.shape[2:], size, stride, padding, (kh, kw), dilation, strict=True
        )
    ]
    rows, columns = axes
    if rows is None or columns is None:
        return _over_zeros(ctx, x, kernel, bias, groups, stride, padding, dilation, size)
    phases = [
        [
            ctx.builder.conv2d(
                x,
                np.ascontiguousarray(kernel[:, :, r.taps][:, :, :, c.taps]),
                bias,
                padding=(r.before, c.before, r.after, c.after),
                groups=groups,
            )
            for c in columns
        ]
        for r in rows
    ]
    return _interleaved(ctx, phases, size)


class _Axis:
    """One phase of an axis: the kernel's taps of it, last first, and the padding of its input."""

    def __init__(self, taps: list[int], before: int, after: int) -> None:
        self.taps, self.before, self.after = taps, before, after

    @staticmethod
    def phases(n: int, out: int, stride: int, padding: int, kernel: int) -> "list[_Axis] | None":
        """What outputs 0, stride, ... ; 1, stride + 1, ... are made of, equally many of each; None
        if one of them has no tap or would cut its input.
        """
        found, count = [], ceil_div(out, stride)
        for first in range(stride):
            residue = (first + padding) % stride
            taps = list(range(residue, kernel, stride))[::-1]
            start = (first + padding - residue) // stride
            before, after = len(taps) - 1 - start, start + count - n
            if not taps or min(before, after) < 0:
                return None
            found.append(_Axis(taps, before, after))
        return found


def _interleaved(ctx: Context, phases: list[list[Value]], size: Sequence[int]) -> Value:
    """Rows and columns of images in turn, the first of each."""
    if len(phases) == len(phases[0]) == 1:
        return phases[0][0]
    n, c, h, w = phases[0][0].shape
    lines = []
    for line in phases:
        parts = [general.call(ctx.builder, "reshape", [v], (n, c, h, 1, w, 1)) for v in line]
        lines.append(general.call(ctx.builder, "concat", parts, 5))
    whole = general.call(ctx.builder, "concat", lines, 3)
    shape = (n, c, h * len(phases), w * len(phases[0]))
    whole = general.call(ctx.builder, "reshape", [whole], shape)
    if shape[2:] != tuple(size):
        kept = (n, c, *size)
        whole = general.call(ctx.builder, "slice", [whole], (0,) * 4, (1,) * 4, kept)
    return general.image(ctx.builder, whole)


def _over_zeros(
    ctx: Context,
    x: Value,
    kernel: NDArray[Any],
    bias: NDArray[Any] | None,
    groups: int,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    size: Sequence[int],
) -> Value:
    """A convolution of the input with zeros between its elements."""
    n, c, h, w = x.shape
    (sh, sw), spread = stride, x
    if (sh, sw) != (1, 1):
        parts = general.call(ctx.builder, "reshape", [x], (n, c, h, 1, w, 1))
        after = (0, 0, 0, sh - 1, 0, sw - 1)
        parts = general.call(ctx.builder, "pad", [parts], (0,) * 6, after, 0.0)
        whole = general.call(ctx.builder, "reshape", [parts], (n, c, h * sh, w * sw))
        kept = (n, c, (h - 1) * sh + 1, (w - 1) * sw + 1)
        spread = general.call(ctx.builder, "slice", [whole], (0,) * 4, (1,) * 4, kept)
    reach = [d * (k - 1) for d, k in zip(dilation, kernel.shape[2:], strict=True)]
    before = [r - p for r, p in zip(reach, padding, strict=True)]
    image = general.image(ctx.builder, spread)
    after_ = [
        out - 1 + r - b - (m - 1)
        for out, r, b, m in zip(size, reach, before, image.shape[2:], strict=True)
    ]
    if min(*before, *after_) < 0:
        raise ctx.fail(f"padding {list(padding)} is larger than its kernel reaches")
    return ctx.builder.conv2d(
        image,
        np.ascontiguousarray(kernel[:, :, ::-1, ::-1]),
        bias,
        padding=(*before, *after_),
        dilation=dilation,
        groups=groups,
    )


def _conv3d(ctx: Context, *_: Any, **__: Any) -> Value:
    raise ctx.fail(
        "convolutions of three dimensions cannot be compiled; apply a conv2d to each frame, or"
        " fold the depth into the channels"
    )


#: PyTorch operator -> converter.
HANDLERS: dict[str, Callable[..., Value]] = {
    "conv1d": conv1d,
    "conv2d": conv2d,
    "conv3d": _conv3d,
    "conv_transpose1d": conv_transpose1d,
    "conv_transpose2d": conv_transpose2d,
}
