"""Kernels that mix no channels: depthwise convolution, pools, means, resizing, layout changes."""

from collections.abc import Sequence

import tvm
from tvm import te, tirx

from bnn_compiler.kernels.epilogue import (
    Stages,
    Value,
    f32,
    finish,
    fma,
    placeholder,
    product,
    read,
    to_bytes,
)
from bnn_compiler.kernels.layout import LANES, Layout
from bnn_compiler.kernels.workload import ConvWorkload
from bnn_compiler.ops.epilogue import Epilogue
from bnn_compiler.ops.rounding import round_up

Tensors = list[Layout | None]


def identity(x: Layout, epilogue: Epilogue, tensors: Tensors) -> Stages:
    """The epilogue on a stored tensor."""
    data = placeholder(x, "x")
    at = read(data, x)

    def value(*index: tirx.Var) -> tvm.ir.Expr:
        found = at(*index)
        return found if x.dtype == "float32" else found.astype("float32")

    return finish(x.shape, value, epilogue, tensors, [data])


def max_pool2d(work: ConvWorkload, epilogue: Epilogue, tensors: Tensors) -> Stages:
    """Maximum over the valid taps.

    Without dilation a tap outside the image is read at the nearest pixel, which is in the window.
    """
    data = placeholder(work.x, "x")
    at = read(data, work.x)
    _, h, w, _ = work.x.shape
    clamp = work.dilation == (1, 1)

    def pool(n, y, x, c):  # type: ignore[no-untyped-def]
        result = None
        for iy, ix, inside in _taps(work, y, x):
            if clamp:
                tap = at(n, _clamp(iy, h), _clamp(ix, w), c)
            else:
                tap = te.if_then_else(inside, at(n, iy, ix, c), f32(float("-inf")))
            result = tap if result is None else tirx.max(result, tap)
        return result

    return finish(work.shape, pool, epilogue, tensors, [data])


def is_depthwise(work: ConvWorkload) -> bool:
    """Whether each output of a float convolution reads one channel, its own."""
    return work.x.dtype == "float32" and mixes_no_channels(work)


def mixes_no_channels(work: ConvWorkload) -> bool:
    """Whether each output reads one channel, its own, and those are whole vectors."""
    return not work.x.dense and work.groups == work.x.shape[3] == work.shape[3] > 1


def depthwise(work: ConvWorkload, epilogue: Epilogue, tensors: Tensors) -> Stages:
    """Taps summed in order from 0 by fma; the parameter after the image is [KH, KW, lanes]."""
    data = placeholder(work.x, "x")
    weights = te.placeholder((*work.kernel, work.x.channels), "float32", name="w")
    tap = work.tap()

    def value(i, y, z, c):  # type: ignore[no-untyped-def]
        total = f32(0)
        for ky in range(work.kernel[0]):
            for kx in range(work.kernel[1]):
                total = fma(data[i, *tap(y, ky, z, kx), c], weights[ky, kx, c], total)
        return total

    return finish(work.shape, value, epilogue, tensors, [data, weights])


def avg_pool2d(
    work: ConvWorkload, count_include_pad: bool, epilogue: Epilogue, tensors: Tensors
) -> Stages:
    """Taps added in order from 0, times the rounded reciprocal of their count."""
    data = placeholder(work.x, "x")
    at = read(data, work.x)
    padded = any(work.padding)

    def pool(n, y, x, c):  # type: ignore[no-untyped-def]
        total, count = f32(0), f32(0)
        for iy, ix, inside in _taps(work, y, x):
            tap = at(n, iy, ix, c)
            total = total + (te.if_then_else(inside, tap, f32(0)) if padded else tap)
            count = count + tirx.Select(inside, f32(1), f32(0))
        if not padded or count_include_pad:
            count = f32(work.kernel[0] * work.kernel[1])
        return product(total, f32(1) / count)

    return finish(work.shape, pool, epilogue, tensors, [data])


def _clamp(i: tvm.ir.Expr, size: int) -> tvm.ir.Expr:
    return tirx.min(tirx.max(i, 0), size - 1)


def _taps(work: ConvWorkload, y: tirx.Var, x: tirx.Var):  # type: ignore[no-untyped-def]
    """(row, column, whether inside the image) of each tap of the window at (y, x)."""
    _, h, w, _ = work.x.shape
    for ky in range(work.kernel[0]):
        for kx in range(work.kernel[1]):
            iy = y * work.strides[0] + ky * work.dilation[0] - work.padding[0]
            ix = x * work.strides[1] + kx * work.dilation[1] - work.padding[1]
            yield iy, ix, tirx.all(iy >= 0, iy < h, ix >= 0, ix < w)


def global_mean(x: Layout, epilogue: Epilogue, tensors: Tensors) -> Stages:
    """Sum over (y, x) in order, times the rounded reciprocal of their number."""
    n, h, w, c = x.shape
    data = placeholder(x, "x")
    at = read(data, x)
    ry, rx = te.reduce_axis((0, h), "ry"), te.reduce_axis((0, w), "rx")
    total = te.compute(
        (n, 1, 1, x.channels),
        lambda i, y, z, k: te.sum(at(i, ry, rx, k), axis=[ry, rx]),
        name="acc",
    )

    def mean(i, y, z, k):  # type: ignore[no-untyped-def]
        return product(total[i, y, z, k], f32(1.0 / (h * w)))

    return finish((n, 1, 1, c), mean, epilogue, tensors, [data], total)


def concat(layouts: Sequence[Layout], epilogue: Epilogue, tensors: Tensors) -> Stages:
    """Channels of several tensors one after the other."""
    data = [placeholder(layout, f"x{i}") for i, layout in enumerate(layouts)]
    n, h, w, _ = layouts[0].shape
    shape = (n, h, w, sum(layout.shape[3] for layout in layouts))

    def pick(i, y, x, c):  # type: ignore[no-untyped-def]
        end = shape[3] - layouts[-1].shape[3]
        last = layouts[-1]
        result = read(data[-1], last)(i, y, x, tirx.min(c - end, last.channels - 1))
        for tensor, layout in reversed(list(zip(data[:-1], layouts[:-1], strict=True))):
            start = end - layout.shape[3]
            result = te.if_then_else(c < end, read(tensor, layout)(i, y, x, c - start), result)
            end = start
        return result

    return finish(shape, pick, epilogue, tensors, data)


def tile(x: Layout, start: int, channels: int, epilogue: Epilogue, tensors: Tensors) -> Stages:
    """``channels`` channels from ``start`` on; after the last one comes the first again."""
    n, h, w, c = x.shape
    data = placeholder(x, "x")
    at = read(data, x)
    # Whole vectors lie side by side if the last one ends in what is stored.
    plain = start + channels <= c and start + round_up(channels, LANES) <= x.channels

    def pick(i, y, z, k):  # type: ignore[no-untyped-def]
        return at(i, y, z, k + start if plain else tirx.floormod(k + start, c))

    return finish((n, h, w, channels), pick, epilogue, tensors, [data])


def pad_channels(
    x: Layout, widths: tuple[int, int], value: float, epilogue: Epilogue, tensors: Tensors
) -> Stages:
    """``widths`` (before, after) more channels of ``value``."""
    n, h, w, c = x.shape
    before, after = widths
    data = placeholder(x, "x")

    def at(i, y, z, k):  # type: ignore[no-untyped-def]
        inside = tirx.all(k >= before, k < before + c)
        return te.if_then_else(inside, read(data, x)(i, y, z, k - before), f32(value))

    return finish((n, h, w, before + c + after), at, epilogue, tensors, [data])


def pad(
    x: Layout,
    padding: Sequence[int],
    value: float,
    epilogue: Epilogue,
    tensors: Tensors,
) -> Stages:
    """A border of ``value`` around the image."""
    n, h, w, c = x.shape
    top, left, bottom, right = padding
    data = placeholder(x, "x")

    def at(i, y, z, k):  # type: ignore[no-untyped-def]
        inside = tirx.all(y >= top, y < h + top, z >= left, z < w + left)
        tap = read(data, x)(i, y - top, z - left, k)
        return te.if_then_else(inside, tap, f32(value))

    return finish((n, h + top + bottom, w + left + right, c), at, epilogue, tensors, [data])


def resize2d(
    x: Layout,
    size: Sequence[int],
    method: str,
    transform: str,
    epilogue: Epilogue,
    tensors: Tensors,
) -> Stages:
    """Nearest or bilinear resize, PyTorch's coordinates; tables of rows and weights are inputs.

    The parameters after the image are the two source rows, the two source columns (int32) and
    the weight of the second of each (float32); ``resize_tables`` makes them.
    """
    n, _, _, c = x.shape
    oh, ow = size
    data = placeholder(x, "x")
    at = read(data, x)
    tables = [
        te.placeholder((length,), dtype, name=f"{axis}{name}")
        for axis, length in (("y", oh), ("x", ow))
        for name, dtype in (("0", "int32"), ("1", "int32"), ("w", "float32"))
    ]
    y0, y1, wy, x0, x1, wx = tables

    def nearest(i, y, z, k):  # type: ignore[no-untyped-def]
        return at(i, y0[y], x0[z], k)

    def blend(a, b, t):  # type: ignore[no-untyped-def]
        return tirx.op.fma(b - a, t, a)

    def bilinear(i, y, z, k):  # type: ignore[no-untyped-def]
        above = blend(at(i, y0[y], x0[z], k), at(i, y0[y], x1[z], k), wx[z])
        below = blend(at(i, y1[y], x0[z], k), at(i, y1[y], x1[z], k), wx[z])
        return blend(above, below, wy[y])

    anchor: Value = nearest if method == "nearest_neighbor" else bilinear
    return finish((n, oh, ow, c), anchor, epilogue, tensors, [data, *tables])


def bits_max_pool2d(work: ConvWorkload) -> tirx.PrimFunc:
    """OR over the valid taps of each word, AND where ``flip`` has a 1: (OR of x ^ f) ^ f."""
    words = work.x.channels
    data = placeholder(work.x, "x")
    flip = te.placeholder((words,), "uint32", name="flip")
    at = read(data, work.x)

    def pool(n, y, x, c):  # type: ignore[no-untyped-def]
        result = tirx.const(0, "uint32")
        for iy, ix, inside in _taps(work, y, x):
            tap = te.if_then_else(inside, at(n, iy, ix, c) ^ flip[c], tirx.const(0, "uint32"))
            result = result | tap
        return result ^ flip[c]

    n, oh, ow, _ = work.shape
    result = te.compute((n, oh, ow, words), pool, name="value")
    return te.create_prim_func([data, flip, result])


def to_nhwc(x: Layout, dtype: str) -> tirx.PrimFunc:
    """A dense NCHW image [N, C, H, W] as NHWC elements of ``dtype``."""
    n, c, h, w = x.shape
    data = te.placeholder((n, c, h, w), x.dtype, name="x")
    result = te.compute(
        (n, h, w, c), lambda i, y, z, k: data[i, k, y, z].astype(dtype), name="value"
    )
    return te.create_prim_func([data, result])


def image_bytes(x: Layout) -> tirx.PrimFunc:
    """A dense float image [N, C, H, W] as NHWC bytes; ``factor`` and ``zero`` are [C]."""
    n, c, h, w = x.shape
    data = te.placeholder((n, c, h, w), x.dtype, name="x")
    factor, zero = (te.placeholder((c,), "float32", name=name) for name in ("factor", "zero"))
    result = te.compute(
        (n, h, w, c),
        lambda i, y, z, k: to_bytes(data[i, k, y, z], factor[k], zero[k]),
        name="value",
    )
    return te.create_prim_func([data, factor, zero, result])


def to_nchw(x: Layout) -> tirx.PrimFunc:
    """An NHWC tensor as dense NCHW."""
    n, h, w, c = x.shape
    data = placeholder(x, "x")
    at = read(data, x)
    result = te.compute((n, c, h, w), lambda i, k, y, z: at(i, y, z, k), name="value")
    return te.create_prim_func([data, result])
