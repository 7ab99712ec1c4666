"""Convolution of bytes with 16-bit weights: exact in 32 bits, then one fma.

Channels and columns of a row lie one after the other: its taps are one loop. x86 takes two of them
at a time, since a pair times a pair of weights is one multiply-add instruction
(pairs.py); NEON has one for single products (``word`` 16).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from tvm import te, tirx

from bnn_compiler.kernels.cpu import schedule
from bnn_compiler.kernels.cpu.tile import Tile, loads
from bnn_compiler.kernels.epilogue import Stages, finish, fma
from bnn_compiler.kernels.family import Counts, Mix
from bnn_compiler.kernels.grouping import Grouping, merge
from bnn_compiler.kernels.layout import LANES
from bnn_compiler.kernels.point import tiles, unrolls
from bnn_compiler.kernels.task import Task
from bnn_compiler.kernels.workload import ConvWorkload, reduce_axes
from bnn_compiler.ops.reference import byte_base
from bnn_compiler.ops.rounding import ceil_div, round_up
from bnn_compiler.ops.storage import Storage
from bnn_compiler.target import Hardware


def grouping(work: ConvWorkload) -> Grouping:
    """One group of whole vectors."""
    return merge(work.x.shape[3], work.shape[3], 1, 1)


def _steps(work: ConvWorkload, point: "Int16Point") -> tuple[int, int]:
    """(steps along a row of the kernel, taps of a step)."""
    together = point.word // 16
    return ceil_div(work.kernel[1] * work.x.shape[3], together), together


def _word(hardware: Hardware) -> int:
    return 32 if hardware.pairs else 16


@dataclass(frozen=True)
class Int16Point(Tile):
    """``word`` is 32 where pairs of factors are multiplied, else 16."""

    family = "int16"


class Int16:
    """The family."""

    name = Int16Point.family
    point = Int16Point

    def fits(self, task: Task, hardware: Hardware) -> bool:
        """Images of bytes."""
        return task.work.x.storage is Storage.INT16

    def points(self, task: Task, hardware: Hardware) -> Iterator[Int16Point]:
        """Every tile that fits the registers."""
        work = task.work
        per_vector = max(1, LANES * 32 // hardware.vector_bits)
        budget = (hardware.vector_registers - 2) // per_vector
        for pixels, vectors in tiles(work.shape[2], grouping(work).outputs // LANES, budget):
            for order in ("channels", "rows"):
                point = Int16Point(pixels, vectors, _word(hardware), order)
                for unroll in unrolls(pixels * vectors * per_vector, _steps(work, point)[0]):
                    yield replace(point, unroll=unroll)

    def rule(self, task: Task, hardware: Hardware) -> Int16Point:
        """The tile with the fewest loads."""
        vectors = grouping(task.work).outputs // LANES
        tile = schedule.choose_tile(task.work.shape[2], vectors, 32, hardware)
        return Int16Point(*tile, _word(hardware))

    def constants(
        self, task: Task, point: Int16Point, weights: Sequence[np.ndarray]
    ) -> list[np.ndarray]:
        """Weights [block, ky, step, lane, tap]; scale [O]; the bias by border class; the classes.

        ``weights`` are int16 [O,KH,KW,C], the scale [O] and the bias [O,KH,KW].
        """
        taps, scale, bias = weights
        o, kh, kw, c = taps.shape
        lanes = round_up(o, LANES)
        steps, together = _steps(task.work, point)
        flat = np.zeros((lanes, kh, steps * together), np.int16)
        flat[:o, :, : kw * c] = taps.reshape(o, kh, kw * c)
        blocks = flat.reshape(lanes // point.lanes, point.lanes, kh, steps, together)
        factor = np.zeros(lanes, np.float32)
        factor[:o] = scale
        (row, ys), (col, xs) = task.work.border_classes(0), task.work.border_classes(1)
        base = np.zeros((len(ys), len(xs), lanes), np.float32)
        base[..., :o] = byte_base(bias, ys, xs)
        return [np.ascontiguousarray(blocks.transpose(0, 2, 3, 1, 4)), factor, base, row, col]

    def function(self, task: Task, point: Int16Point) -> tirx.PrimFunc:
        """The scheduled kernel."""
        return schedule.conv(stages(task, point), point, task.work.image_rows)

    def counts(self, task: Task, point: Int16Point, hardware: Hardware) -> Counts:
        """A product of pairs and a sum."""
        g = grouping(task.work)
        kh, kw = task.work.kernel
        along = ceil_div(kw * g.inputs, 2)
        accumulators, weights = point.registers(point.word, hardware)
        vector, load = 2 * accumulators, loads(accumulators, weights)
        return Counts(
            grouping=g,
            pixels=point.pixels,
            vectors=point.vectors,
            accumulators=accumulators,
            weights=weights,
            mix=Mix(vector, load, add=accumulators, fma=accumulators),
            steps=kh * along,
            inner=kw if point.unroll else along,
            body=max(1, along * point.unroll),
            word=point.word,
            word_bytes=4,
            order=point.order,
            unroll=point.unroll,
        )


def stages(task: Task, point: Int16Point) -> Stages:
    """The kernel's TE."""
    work = task.work
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
    return finish(work.shape, value, task.epilogue, list(task.tensors), inputs, acc)
