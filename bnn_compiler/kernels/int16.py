"""Convolution of bytes with 16-bit weights: exact in 32 bits, then one fma.

Two taps at a time: channels and columns of a row lie one after the other, and a pair of them
times a pair of weights is one multiply-add instruction (codegen.PairProducts).
"""

from collections.abc import Iterator

import numpy as np
from tvm import te, tirx

from bnn_compiler.kernels import schedule
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


def _pairs(work: ConvWorkload) -> int:
    return -(-work.kernel[1] * work.x.shape[3] // 2)


def points(work: ConvWorkload, hardware: Hardware) -> Iterator[Point]:
    """Every schedule of ``work``."""
    per_vector = max(1, LANES * 32 // hardware.vector_bits)
    budget = (hardware.vector_registers - 2) // per_vector
    for pixels, vectors in tiles(work.shape[2], grouping(work).outputs // LANES, budget):
        for order in ("channels", "rows"):
            for unroll in unrolls(pixels * vectors * per_vector, _pairs(work)):
                yield Point("int16", pixels, vectors, 32, order, unroll)


def rule(work: ConvWorkload, hardware: Hardware) -> Point:
    """The schedule to use when nothing is known."""
    vectors = grouping(work).outputs // LANES
    return Point("int16", *schedule.choose_tile(work.shape[2], vectors, 32, hardware), 32)


def constants(
    work: ConvWorkload, point: Point, weights: np.ndarray, scale: np.ndarray, bias: np.ndarray
) -> list[np.ndarray]:
    """Pairs [block, ky, pair, lane, 2]; scale [O]; the bias by border class, and the classes."""
    o, kh, kw, c = weights.shape
    lanes = round_up(o, LANES)
    flat = np.zeros((lanes, kh, 2 * _pairs(work)), np.int16)
    flat[:o, :, : kw * c] = weights.reshape(o, kh, kw * c)
    paired = flat.reshape(lanes // point.lanes, point.lanes, kh, -1, 2).transpose(0, 2, 3, 1, 4)
    factor = np.zeros(lanes, np.float32)
    factor[:o] = scale
    (row, ys), (col, xs) = work.border_classes(0), work.border_classes(1)
    base = np.zeros((len(ys), len(xs), lanes), np.float32)
    base[..., :o] = byte_base(bias, ys, xs)
    return [np.ascontiguousarray(paired), factor, base, row, col]


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
    w = te.placeholder(
        (outputs // lanes, work.kernel[0], _pairs(work), lanes, 2), "int16", name="w"
    )
    scale = te.placeholder((outputs,), "float32", name="scale")
    (_, ys), (_, xs) = work.border_classes(0), work.border_classes(1)
    table = te.placeholder((len(ys), len(xs), outputs), "float32", name="base")
    row_class = te.placeholder((oh,), "int32", name="row")
    column_class = te.placeholder((ow,), "int32", name="col")
    tap = work.tap()
    ry, rp = reduce_axes(ry=work.kernel[0], rp=_pairs(work))

    def taps(one, i, y, z, b, lane):  # type: ignore[no-untyped-def]
        row, column = tap(y, ry, z, 0)
        value = x[i, row, column * channels + rp * 2 + one].astype("int32")
        return value * w[b, ry, rp, lane, one].astype("int32")

    acc = te.compute(
        (n, oh, ow, outputs // lanes, lanes),
        lambda *at: te.sum(taps(0, *at) + taps(1, *at), axis=[ry, rp]),
        name="acc",
    )

    def value(i, y, z, c):  # type: ignore[no-untyped-def]
        total = acc[i, y, z, c // lanes, c % lanes].astype("float32")
        return fma(total, scale[c], table[row_class[y], column_class[z], c])

    inputs = [x, w, scale, table, row_class, column_class]
    return finish(work.shape, value, epilogue, tensors, inputs, acc)
