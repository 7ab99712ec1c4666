"""Binary convolution on CUDA cores, by xor and popcount: for shapes that waste tensor cores."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from tvm import te, tirx

from bnn_compiler.kernels.cpu.popcount import grouping
from bnn_compiler.kernels.cuda import point as points
from bnn_compiler.kernels.cuda import schedule
from bnn_compiler.kernels.cuda.border import Border
from bnn_compiler.kernels.cuda.point import ThreadPoint
from bnn_compiler.kernels.cuda.words import WORD, with_words
from bnn_compiler.kernels.epilogue import Stages, f32, finish, fma, placeholder
from bnn_compiler.kernels.gpu_counts import GpuCounts
from bnn_compiler.kernels.grouping import expand
from bnn_compiler.kernels.task import Task
from bnn_compiler.kernels.workload import reduce_axes
from bnn_compiler.ops.rounding import ceil_div
from bnn_compiler.target import Gpu


@dataclass(frozen=True)
class PopcPoint(ThreadPoint):
    """See ThreadPoint."""

    family = "popc"


class Popc:
    """The family."""

    name = PopcPoint.family
    point = PopcPoint

    def fits(self, task: Task, hardware: Gpu) -> bool:
        """Signs."""
        return task.work.is_binary

    def points(self, task: Task, hardware: Gpu) -> Iterator[PopcPoint]:
        """Every tile."""
        yield from (PopcPoint(*p) for p in points.candidates(task))

    def rule(self, task: Task, hardware: Gpu) -> PopcPoint:
        """The largest tile that leaves enough threads."""
        return PopcPoint(*points.best(task, hardware))

    def constants(
        self, task: Task, point: PopcPoint, weights: Sequence[np.ndarray]
    ) -> list[np.ndarray]:
        """Bits [ky, kx, word, O] of the weights and, for masked groups, of where they are."""
        g = grouping(task.work)
        wide, real = expand(weights[0], task.work.groups, g)
        planes = [wide > 0, real][: 1 + g.masked]
        border = Border(task.work)
        # A tap in zero padding has bits 0 and adds popcount(w) to the kernel's count.
        ones = ((wide > 0) & real).sum(axis=-1, dtype=np.int64)
        taps = real.sum(axis=-1, dtype=np.int64)
        return [*map(by_word, planes), *border.constants(taps, 2 * ones)]

    def function(self, task: Task, point: PopcPoint) -> tirx.PrimFunc:
        """The scheduled kernel."""
        found = with_words(stages(task), task.epilogue, task.tensors)
        return schedule.elements(found, point.pixels, point.threads)

    def counts(self, task: Task, point: PopcPoint, hardware: Gpu) -> GpuCounts:
        """An xor, a popcount and a sum for each word and pixel."""
        kh, kw = task.work.kernel
        steps = kh * kw * ceil_div(grouping(task.work).inputs, WORD)
        masked = grouping(task.work).masked
        return points.counts(task, point, steps, 3 + masked, 4 * (1 + masked))


def by_word(plane: np.ndarray) -> np.ndarray:
    """bool [O, KH, KW, C] as uint32 [KH, KW, words, O]."""
    o, kh, kw, c = plane.shape
    padded = np.zeros((o, kh, kw, ceil_div(c, WORD) * WORD), bool)
    padded[..., :c] = plane
    words = np.packbits(padded, axis=-1, bitorder="little").view(np.uint32)
    return np.ascontiguousarray(words.transpose(1, 2, 3, 0))


def stages(task: Task) -> Stages:
    """The kernel's TE: ``base - 2 * popcount``, then the epilogue."""
    work = task.work
    g = grouping(work)
    n, oh, ow, _ = work.shape
    outputs, count = g.merged * g.outputs, ceil_div(g.inputs, WORD)
    x = placeholder(work.x, "x")
    shape = (*work.kernel, count, outputs)
    w = te.placeholder(shape, "uint32", name="w")
    mask = [te.placeholder(shape, "uint32", name="mask")] if g.masked else []
    tap = work.tap()
    ry, rx, rc = reduce_axes(ry=work.kernel[0], rx=work.kernel[1], rc=count)

    def differ(i, y, z, c):  # type: ignore[no-untyped-def]
        word = x[i, *tap(y, ry, z, rx), c // g.outputs * count + rc] ^ w[ry, rx, rc, c]
        for plane in mask:
            word = word & plane[ry, rx, rc, c]
        return te.sum(tirx.popcount(word).astype("int32"), axis=[ry, rx, rc])

    acc = te.compute((n, oh, ow, outputs), differ, name="acc")
    more, base = Border(work).base(outputs)

    def integer(i, y, z, c):  # type: ignore[no-untyped-def]
        return fma(f32(-2), acc[i, y, z, c].astype("float32"), base(i, y, z, c))

    inputs = [x, w, *mask, *more]
    return finish(work.shape, integer, task.epilogue, list(task.tensors), inputs, acc)
