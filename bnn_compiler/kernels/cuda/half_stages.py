"""The TE of float convolutions on halves: fragments' elements, their product, pool and epilogue."""

from collections.abc import Callable
from typing import TypeAlias

import tvm
from tvm import te, tirx

from bnn_compiler.kernels.cuda.half_shape import Shape
from bnn_compiler.kernels.cuda.instruction import COLUMNS
from bnn_compiler.kernels.cuda.tiles import Tiles
from bnn_compiler.kernels.epilogue import Stages, f32, finish, fma, placeholder, product, read
from bnn_compiler.kernels.layout import LANES
from bnn_compiler.ops.rounding import round_up
from bnn_compiler.ops.window import Window

Expr: TypeAlias = tvm.ir.Expr
#: The image at (n, y, x, c), which must lie inside.
Image: TypeAlias = Callable[[Expr, Expr, Expr, Expr], Expr]


def stages(shape: Shape) -> Stages:
    """The kernel, with pixels as rows of ``shape.flat``."""
    work, point, i = shape.work, shape.point, shape.instruction
    if work.image:
        n, h, w, c = work.x.shape
        x = te.placeholder((n, c, h, w), "float32", name="x")
        at: Image = lambda n, y, x_, c: x[n, c, y, x_]  # noqa: E731
    else:
        x = placeholder(work.x, "x")
        at = read(x, work.x)
    lanes, depth = i.words // 4, shape.depth * point.splits
    weights = te.placeholder(
        (shape.tiles, shape.steps * point.splits, point.columns, 32, lanes), "uint32", name="w"
    )
    vectors = [
        te.placeholder((round_up(work.shape[3], LANES),), "float32", name=name)
        for name in ("scale", "bias")[: 1 + bool(work.pool)]
    ]
    a = _from_patch(shape, _patch(shape, at)) if shape.staged else _direct(shape, at)

    def weight(tile, c, k):  # type: ignore[no-untyped-def]
        lane = c % COLUMNS * 4 + k % 4
        return weights[tile, k // i.words, c // COLUMNS, lane, k % i.words // 4]

    b = te.compute((shape.tiles, shape.columns, depth), weight, name="weights")
    rk = te.reduce_axis((0, shape.depth), "rk")

    def dot(s, block, m, tile, c):  # type: ignore[no-untyped-def]
        k = s * shape.depth + rk
        return te.sum(i.multiply(a[block, m, k], b[tile, c, k]), axis=[rk])

    extents = (point.splits, shape.blocks, shape.rows, shape.tiles, shape.columns)
    acc = te.compute(extents, dot, name="acc")
    value = _pooled(shape, acc, vectors) if work.pool else _plain(shape, acc, vectors)
    task = shape.task
    inputs = [x, weights, *vectors]
    return finish(work.shape, value, task.epilogue, list(task.tensors), inputs, acc, shape.flat)


def _total(shape: Shape, acc: te.Tensor, block: Expr, m: Expr, c: Expr) -> Expr:
    """The sum of all parts."""
    at = (block, m, c // shape.columns, c % shape.columns)
    found = acc[(0, *at)]
    for s in range(1, shape.point.splits):
        found = found + acc[(s, *at)]
    return found


def _plain(shape: Shape, acc: te.Tensor, vectors: list[te.Tensor]) -> Callable[..., Expr]:
    (scale,), count = vectors, shape.point.outputs
    return lambda n, y, m, c: product(_total(shape, acc, m // count, m % count, c), scale[c])


def _pooled(shape: Shape, acc: te.Tensor, vectors: list[te.Tensor]) -> Callable[..., Expr]:
    """The largest sum of a window, scaled by what is not negative (half.py) and shifted.

    A tap beyond an edge of what is pooled is another of the window.
    """
    scale, bias = vectors
    tiles, pool, (rows, columns) = shape.flat, shape.work.pooled, shape.work.convolved
    assert isinstance(tiles, Tiles)

    def largest(n, _, m, c):  # type: ignore[no-untyped-def]
        block = m // shape.point.outputs
        y, x = tiles.within(m)
        _, first, begin = tiles.tile(block)
        down = _window(pool, 0, y, first, shape.work.shape[1], rows)
        along = _window(pool, 1, x, begin, shape.work.shape[2], columns)
        # Columns first: neighbours have some in common.
        found = _largest(
            [
                _largest([_total(shape, acc, block, r * shape.convolved[1] + q, c) for r in down])
                for q in along
            ]
        )
        return fma(found, scale[c], bias[c])

    return largest


def _window(pool: Window, axis: int, at: Expr, first: Expr, outputs: int, size: int) -> list[Expr]:
    """The taps of output ``at`` of a tile that begins with ``first``, in the tile's pixels.

    There are ``outputs`` of ``size`` pixels. In place of one beyond an edge there is another.
    """
    stride, padding = pool.strides[axis], pool.padding[axis]
    start = at * stride
    found: list[Expr] = []
    for k in range(pool.kernel[axis]):
        tap, pixel = start + k, first * stride + start + k - padding
        if k < padding:
            tap = tirx.Select(pixel < 0, start + padding, tap)
        if (outputs - 1) * stride + k - padding >= size:
            tap = tirx.Select(pixel < size, tap, found[0])
        found.append(tap)
    return found


def _largest(values: list[Expr]) -> Expr:
    found, *others = values
    for value in others:
        found = tirx.call_pure_extern("float32", "bnn_largest", found, value)
    return found


def _patch(shape: Shape, at: Image) -> te.Tensor:
    """Words [block, channel, row, column] of pairs of columns; 0 outside the image."""
    work, tiles = shape.work, shape.flat
    assert isinstance(tiles, Tiles)
    _, h, w, channels = work.x.shape
    height, width = shape.patch
    first, second = (1, work.dilation[1]) if shape.overlaps else (2, 1)
    (up, side), pool = work.strides, work.pooled

    def pair(block, c, y, x):  # type: ignore[no-untyped-def]
        n, row, column = tiles.tile(block)
        y = (row * pool.strides[0] - pool.padding[0]) * up - work.padding[0] + y
        x = (column * pool.strides[1] - pool.padding[1]) * side - work.padding[1] + x * first

        def number(x):  # type: ignore[no-untyped-def]
            inside = tirx.all(y >= 0, y < h, x >= 0, x < w)
            return tirx.if_then_else(inside, at(n, y, x, c), f32(0))

        return tirx.call_pure_extern("uint32", "bnn_half2", number(x), number(x + second))

    return te.compute((shape.blocks, channels, height, width), pair, name="patch")


def _from_patch(shape: Shape, patch: te.Tensor) -> te.Tensor:
    """Words [block, pixel, k] of the input, k over channels, kernel rows and pairs of columns."""
    work, (kh, _) = shape.work, shape.work.kernel
    (across, pair), columns = shape.step, shape.convolved[1]

    def word(block, m, k):  # type: ignore[no-untyped-def]
        if shape.rows > shape.pixels:
            m = tirx.min(m, shape.pixels - 1)
        line, j = k // shape.in_tap, k % shape.in_tap
        row = m // columns * work.strides[0] + line % kh * work.dilation[0]
        found = patch[block, line // kh, row, m % columns * across + j * pair]
        if shape.depth * shape.point.splits == shape.words:
            return found
        return tirx.if_then_else(k < shape.words, found, tirx.const(0, "uint32"))

    depth = shape.depth * shape.point.splits
    return te.compute((shape.blocks, shape.rows, depth), word, name="halves")


def _direct(shape: Shape, at: Image) -> te.Tensor:
    """Words [block, pixel, k] of the input, k over taps and pairs of channels."""
    work, flat = shape.work, shape.flat
    channels, (_, kw) = work.x.shape[3], work.kernel
    tap = work.tap()
    top, left, _, _ = work.x.halo

    def word(block, m, k):  # type: ignore[no-untyped-def]
        place = shape.place(k)
        step, c = place // shape.in_tap, place % shape.in_tap * 2
        image, y, z = flat.pixel(block * shape.rows + m)
        row, column = tap(y, step // kw, z, step % kw)

        def number(c):  # type: ignore[no-untyped-def]
            return at(image, row - top, column - left, c)

        second = number(c + 1)
        if channels % 2:
            second = tirx.if_then_else(c + 1 < channels, second, f32(0))
        found = tirx.call_pure_extern("uint32", "bnn_half2", number(c), second)
        if shape.depth * shape.point.splits == shape.words:
            return found
        return tirx.if_then_else(place < shape.words, found, tirx.const(0, "uint32"))

    depth = shape.depth * shape.point.splits
    return te.compute((shape.blocks, shape.rows, depth), word, name="halves")
