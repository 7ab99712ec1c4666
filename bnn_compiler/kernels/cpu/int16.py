"""Convolution of bytes with 16-bit weights: exact in 32 bits, then one fma.

Channels and columns of a row lie one after the other: its taps are one loop. x86 takes two of them
at a time, since a pair times a pair of weights is one multiply-add instruction
(codegen.PairProducts); NEON has one for single products (``word`` 16).
"""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from tvm import te, tirx

from bnn_compiler.kernels.cpu import schedule
from bnn_compiler.kernels.epilogue import Stages, finish, fma
from bnn_compiler.kernels.grouping import Grouping, merge
from bnn_compiler.kernels.layout import LANES, Layout, round_up
from bnn_compiler.kernels.point import Point, tiles, unrolls
from bnn_compiler.kernels.workload import ConvWorkload, reduce_axes
from bnn_compiler.ops.epilogue import Epilogue
from bnn_compiler.ops.reference import byte_base
from bnn_compiler.target import Hardware


def grouping(work: ConvWorkload) -> Grouping:
    """One group of whole vectors."""
    return merge(work.x.shape[3], work.shape[3], 1, 1)


def _steps(work: ConvWorkload, point: Point) -> tuple[int, int]:
    """(steps along a row of the kernel, taps of a step)."""
    together = point.word // 16
    return -(-work.kernel[1] * work.x.shape[3] // together), together


def _word(hardware: Hardware) -> int:
    return 16 if hardware.popcount == "cnt" else 32


def points(work: ConvWorkload, hardware: Hardware) -> Iterator[Point]:
    """Every schedule of ``work``."""
    per_vector = max(1, LANES * 32 // hardware.vector_bits)
    budget = (hardware.vector_registers - 2) // per_vector
    for pixels, vectors in tiles(work.shape[2], grouping(work).outputs // LANES, budget):
        for order in ("channels", "rows"):
            point = Point("int16", pixels, vectors, _word(hardware), order)
            for unroll in unrolls(pixels * vectors * per_vector, _steps(work, point)[0]):
                yield replace(point, unroll=unroll)


def rule(work: ConvWorkload, hardware: Hardware) -> Point:
    """The schedule to use when nothing is known."""
    vectors = grouping(work).outputs // LANES
    tile = schedule.choose_tile(work.shape[2], vectors, 32, hardware)
    return Point("int16", *tile, _word(hardware))


def constants(
    work: ConvWorkload, point: Point, weights: np.ndarray, scale: np.ndarray, bias: np.ndarray
) -> list[np.ndarray]:
    """Weights [block, ky, step, lane, tap]; scale [O]; the bias by border class; the classes."""
    o, kh, kw, c = weights.shape
    lanes = round_up(o, LANES)
    steps, together = _steps(work, point)
    flat = np.zeros((lanes, kh, steps * together), np.int16)
    flat[:o, :, : kw * c] = weights.reshape(o, kh, kw * c)
    blocks = flat.reshape(lanes // point.lanes, point.lanes, kh, steps, together)
    factor = np.zeros(lanes, np.float32)
    factor[:o] = scale
    (row, ys), (col, xs) = work.border_classes(0), work.border_classes(1)
    base = np.zeros((len(ys), len(xs), lanes), np.float32)
    base[..., :o] = byte_base(bias, ys, xs)
    return [np.ascontiguousarray(blocks.transpose(0, 2, 3, 1, 4)), factor, base, row, col]


def function(
    work: ConvWorkload, point: Point, epilogue: Epilogue, tensors: list[Layout | None]
) -> tirx.PrimFunc:
    """The scheduled kernel."""
    return schedule.conv(stages(work, point, epilogue, tensors), point, work.image_rows)


def stages(
    work: ConvWorkload, point: Point, epilogue: Epilogue, tensors: list[Layout | None]
) -> Stages:
    """The kernel's TE."""
    n, oh, ow, _ = work.shape
    channels, lanes = work.x.shape[3], point.lanes
    outputs = grouping(work).outputs
    _, rows, columns, _ = work.x.physical
    x = te.placeholder((n, rows, columns * channels), "int16", name="x")
    steps, together = _steps(work, point)
    shape = (outputs // lanes, work.kernel[0], steps, lanes, together)
    w = te.placeholder(shape, "int16", name="w")
    scale = te.placeholder((outputs,), "float32", name="scale")
    (_, ys), (_, xs) = work.border_classes(0), work.border_classes(1)
    table = te.placeholder((len(ys), len(xs), outputs), "float32", name="base")
    row_class = te.placeholder((oh,), "int32", name="row")
    column_class = te.placeholder((ow,), "int32", name="col")
    tap = work.tap()
    ry, rp = reduce_axes(ry=work.kernel[0], rp=steps)

    def taps(one, i, y, z, b, lane):  # type: ignore[no-untyped-def]
        row, column = tap(y, ry, z, 0)
        value = x[i, row, column * channels + rp * together + one].astype("int32")
        return value * w[b, ry, rp, lane, one].astype("int32")

    def total(*at):  # type: ignore[no-untyped-def]
        products = [taps(one, *at) for one in range(together)]
        return te.sum(products[0] if together == 1 else products[0] + products[1], axis=[ry, rp])

    acc = te.compute((n, oh, ow, outputs // lanes, lanes), total, name="acc")

    def value(i, y, z, c):  # type: ignore[no-untyped-def]
        exact = acc[i, y, z, c // lanes, c % lanes].astype("float32")
        return fma(exact, scale[c], table[row_class[y], column_class[z], c])

    inputs = [x, w, scale, table, row_class, column_class]
    return finish(work.shape, value, epilogue, tensors, inputs, acc)
