"""Convolution of bytes with 16-bit weights on CUDA cores: exact in 32 bits, then one fma."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from tvm import te, tirx

from bnn_compiler.kernels.cuda import point as points
from bnn_compiler.kernels.cuda import schedule
from bnn_compiler.kernels.cuda.point import ThreadPoint
from bnn_compiler.kernels.cuda.words import with_words
from bnn_compiler.kernels.epilogue import Stages, finish, fma
from bnn_compiler.kernels.gpu_counts import GpuCounts
from bnn_compiler.kernels.layout import LANES
from bnn_compiler.kernels.task import Task
from bnn_compiler.kernels.workload import reduce_axes
from bnn_compiler.ops.reference import byte_base
from bnn_compiler.ops.rounding import round_up
from bnn_compiler.ops.storage import Storage
from bnn_compiler.target import Gpu


@dataclass(frozen=True)
class PixelPoint(ThreadPoint):
    """See ThreadPoint."""

    family = "pixel"


class Pixel:
    """The family."""

    name = PixelPoint.family
    point = PixelPoint

    def fits(self, task: Task, hardware: Gpu) -> bool:
        """Images of bytes."""
        return task.work.x.storage is Storage.INT16

    def points(self, task: Task, hardware: Gpu) -> Iterator[PixelPoint]:
        """Every tile."""
        yield from (PixelPoint(*p) for p in points.candidates(task))

    def rule(self, task: Task, hardware: Gpu) -> PixelPoint:
        """The largest tile that leaves enough threads."""
        return PixelPoint(*points.best(task, hardware))

    def constants(
        self, task: Task, point: PixelPoint, weights: Sequence[np.ndarray]
    ) -> list[np.ndarray]:
        """Weights [ky, tap of the row, O]; scale [O]; the bias by border class; the classes.

        ``weights`` are int16 [O,KH,KW,C], the scale [O] and the bias [O,KH,KW].
        """
        taps, scale, bias = weights
        o, kh, kw, c = taps.shape
        lanes = round_up(o, LANES)
        wide = np.zeros((kh, kw * c, lanes), np.int16)
        wide[..., :o] = taps.reshape(o, kh, kw * c).transpose(1, 2, 0)
        factor = np.zeros(lanes, np.float32)
        factor[:o] = scale
        (row, ys), (col, xs) = task.work.border_classes(0), task.work.border_classes(1)
        base = np.zeros((len(ys), len(xs), lanes), np.float32)
        base[..., :o] = byte_base(bias, ys, xs)
        return [wide, factor, base, row, col]

    def function(self, task: Task, point: PixelPoint) -> tirx.PrimFunc:
        """The scheduled kernel."""
        found = with_words(stages(task), task.epilogue, task.tensors)
        return schedule.elements(found, point.pixels, point.threads)

    def counts(self, task: Task, point: PixelPoint, hardware: Gpu) -> GpuCounts:
        """A product and a sum for each input and pixel."""
        work = task.work
        steps = work.kernel[0] * work.kernel[1] * work.x.shape[3]
        return points.counts(task, point, steps, 2, 2)


def stages(task: Task) -> Stages:
    """The kernel's TE."""
    work = task.work
    n, oh, ow, o = work.shape
    channels, outputs = work.x.shape[3], round_up(o, LANES)
    _, rows, columns, _ = work.x.physical
    along = work.kernel[1] * channels
    x = te.placeholder((n, rows, columns * channels), "int16", name="x")
    w = te.placeholder((work.kernel[0], along, outputs), "int16", name="w")
    scale = te.placeholder((outputs,), "float32", name="scale")
    (_, ys), (_, xs) = work.border_classes(0), work.border_classes(1)
    table = te.placeholder((len(ys), len(xs), outputs), "float32", name="base")
    row_class = te.placeholder((oh,), "int32", name="row")
    column_class = te.placeholder((ow,), "int32", name="col")
    tap = work.tap()
    ry, rp = reduce_axes(ry=work.kernel[0], rp=along)

    def total(i, y, z, c):  # type: ignore[no-untyped-def]
        row, column = tap(y, ry, z, 0)
        value = x[i, row, column * channels + rp].astype("int32")
        return te.sum(value * w[ry, rp, c].astype("int32"), axis=[ry, rp])

    acc = te.compute((n, oh, ow, outputs), total, name="acc")

    def value(i, y, z, c):  # type: ignore[no-untyped-def]
        exact = acc[i, y, z, c].astype("float32")
        return fma(exact, scale[c], table[row_class[y], column_class[z], c])

    inputs = [x, w, scale, table, row_class, column_class]
    return finish(work.shape, value, task.epilogue, list(task.tensors), inputs, acc)
