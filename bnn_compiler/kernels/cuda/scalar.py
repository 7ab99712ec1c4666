"""Float convolution on CUDA cores in the CPU's order: fma over (ky, kx, c) in sequence, from 0."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from tvm import te, tirx

from bnn_compiler.kernels.cuda import point as points
from bnn_compiler.kernels.cuda import schedule
from bnn_compiler.kernels.cuda.point import ThreadPoint
from bnn_compiler.kernels.cuda.words import with_words
from bnn_compiler.kernels.epilogue import Stages, f32, finish, placeholder
from bnn_compiler.kernels.gpu_counts import GpuCounts
from bnn_compiler.kernels.layout import LANES
from bnn_compiler.kernels.task import Task
from bnn_compiler.kernels.workload import HalfWorkload, reduce_axes
from bnn_compiler.ops.rounding import round_up
from bnn_compiler.ops.storage import Storage
from bnn_compiler.target import Gpu


@dataclass(frozen=True)
class ScalarPoint(ThreadPoint):
    """See ThreadPoint."""

    family = "scalar"


class Scalar:
    """The family."""

    name = ScalarPoint.family
    point = ScalarPoint

    def fits(self, task: Task, hardware: Gpu) -> bool:
        """Float images of any grouping.

        Where reordering is allowed (minimal filtering on CPUs) the order is the same as elsewhere.
        """
        is_half = isinstance(task.work, HalfWorkload)
        return task.work.x.storage is Storage.FLOAT32 and not is_half

    def points(self, task: Task, hardware: Gpu) -> Iterator[ScalarPoint]:
        """Every tile."""
        yield from (ScalarPoint(*p) for p in points.candidates(task))

    def rule(self, task: Task, hardware: Gpu) -> ScalarPoint:
        """The largest tile that leaves enough threads."""
        return ScalarPoint(*points.best(task, hardware))

    def constants(
        self, task: Task, point: ScalarPoint, weights: Sequence[np.ndarray]
    ) -> list[np.ndarray]:
        """Weights [O,KH,KW,C/groups] as [KH, KW, C/groups, O]."""
        (w,) = weights
        wide = np.zeros((*w.shape[1:], round_up(w.shape[0], LANES)), np.float32)
        wide[..., : w.shape[0]] = w.transpose(1, 2, 3, 0)
        return [wide]

    def function(self, task: Task, point: ScalarPoint) -> tirx.PrimFunc:
        """The scheduled kernel."""
        found = with_words(stages(task), task.epilogue, task.tensors)
        return schedule.elements(found, point.pixels, point.threads)

    def counts(self, task: Task, point: ScalarPoint, hardware: Gpu) -> GpuCounts:
        """An fma for each input and pixel."""
        work = task.work
        steps = work.kernel[0] * work.kernel[1] * (work.x.shape[3] // work.groups)
        return points.counts(task, point, steps, 1, 4)


def stages(task: Task) -> Stages:
    """The kernel's TE."""
    work = task.work
    n, oh, ow, o = work.shape
    outputs, inputs = round_up(o, LANES), work.x.shape[3] // work.groups
    w = te.placeholder((*work.kernel, inputs, outputs), "float32", name="w")
    ry, rx, rc = reduce_axes(ry=work.kernel[0], rx=work.kernel[1], rc=inputs)
    per_group = o // work.groups

    def channel(c):  # type: ignore[no-untyped-def]
        if work.groups == 1:
            return rc
        # Padded outputs read the last group, with weights 0.
        return tirx.min(c // per_group, work.groups - 1) * inputs + rc

    x, at = image(task)

    def dot(i, y, z, c):  # type: ignore[no-untyped-def]
        # schedule.contract turns each step of this sum into one fma.
        value = at(i, (y, ry), (z, rx), channel(c))
        return te.sum(value * w[ry, rx, rc, c], axis=[ry, rx, rc])

    acc = te.compute((n, oh, ow, outputs), dot, name="acc")
    return finish(work.shape, lambda *at: acc[at], task.epilogue, list(task.tensors), [x, w], acc)


def image(task: Task):  # type: ignore[no-untyped-def]
    """The image, and a tap of it at (n, (y, ky), (x, kx), c)."""
    return _nchw(task) if task.work.winograd else _nhwc(task)


def _nhwc(task: Task):  # type: ignore[no-untyped-def]
    """The stored image, and a tap of it at (n, (y, ky), (x, kx), c)."""
    x, tap = placeholder(task.work.x, "x"), task.work.tap()
    return x, lambda i, y, z, c: x[i, *tap(*y, *z), c]


def _nchw(task: Task):  # type: ignore[no-untyped-def]
    """The same of the caller's image, which has no halo: 0 outside."""
    work = task.work
    n, h, w, c = work.x.shape
    x = te.placeholder((n, c, h, w), "float32", name="x")

    def at(i, y, z, k):  # type: ignore[no-untyped-def]
        iy = y[0] * work.strides[0] + y[1] * work.dilation[0] - work.padding[0]
        ix = z[0] * work.strides[1] + z[1] * work.dilation[1] - work.padding[1]
        inside = tirx.all(iy >= 0, iy < h, ix >= 0, ix < w)
        return tirx.if_then_else(inside, x[i, k, iy, ix], f32(0))

    return x, at
