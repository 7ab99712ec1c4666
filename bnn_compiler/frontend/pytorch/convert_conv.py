"""Converters of convolutions: of one and two dimensions, transposed by phases."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import gcd
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
    if not weight.size:
        raise ctx.fail(f"its weight has shape {list(weight.shape)}, no element")
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
    rows, columns = (
        _Axis.phases(n, out, s, p, k, d)
        for n, out, s, p, k, d in zip(
            x.shape[2:], size, stride, padding, (kh, kw), dilation, strict=True
        )
    )
    phases = [[_phase(ctx, x, kernel, bias, groups, r, c) for c in columns] for r in rows]
    return _interleaved(ctx, phases, size)


@dataclass(frozen=True)
class _Axis:
    """One phase of an axis: the kernel's ``taps`` of it, last first, and how far they lie apart.

    ``before`` and ``after`` are the padding of its input, below 0 how many of its outputs are cut
    away; ``count`` outputs are left.
    """

    taps: list[int]
    dilation: int
    before: int
    after: int
    count: int

    @staticmethod
    def phases(
        n: int, out: int, stride: int, padding: int, kernel: int, dilation: int
    ) -> "list[_Axis]":
        """What outputs 0, stride, ... ; 1, stride + 1, ... are made of, equally many of each."""
        found, count = [], ceil_div(out, stride)
        apart = dilation // gcd(dilation, stride)
        for first in range(stride):
            place = first + padding
            taps = [k for k in range(kernel) if (place - dilation * k) % stride == 0][::-1]
            before = after = 0
            if taps:
                before = (dilation * taps[0] - place) // stride
                after = count + (place - dilation * taps[-1]) // stride - n
            found.append(_Axis(taps, apart, before, after, count))
        return found


def _phase(
    ctx: Context,
    x: Value,
    kernel: NDArray[Any],
    bias: NDArray[Any] | None,
    groups: int,
    rows: _Axis,
    columns: _Axis,
) -> general.Operand:
    """One phase's outputs, [N, O, rows, columns]: by a convolution, or the bias where no tap is."""
    shape = (x.shape[0], len(kernel), rows.count, columns.count)
    if not (rows.taps and columns.taps):
        known = np.zeros(len(kernel)) if bias is None else bias
        return np.broadcast_to(known.reshape(-1, 1, 1), shape).astype(np.float32)
    widths = rows.before, columns.before, rows.after, columns.after
    made = ctx.builder.conv2d(
        x,
        np.ascontiguousarray(kernel[:, :, rows.taps][:, :, :, columns.taps]),
        bias,
        padding=tuple(max(w, 0) for w in widths),
        dilation=(rows.dilation, columns.dilation),
        groups=groups,
    )
    if min(widths) >= 0:
        return made
    starts = (0, 0, max(-rows.before, 0), max(-columns.before, 0))
    return general.call(ctx.builder, "slice", [made], starts, (1,) * 4, shape)


def _interleaved(ctx: Context, phases: list[list[general.Operand]], size: Sequence[int]) -> Value:
    """Rows and columns of images in turn, the first of each."""
    only = phases[0][0]
    if len(phases) == len(phases[0]) == 1 and isinstance(only, Value):
        return general.image(ctx.builder, only)
    n, c, h, w = only.shape if isinstance(only, Value) else np.shape(only)
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
    "conv_transpose3d": _conv3d,
}
