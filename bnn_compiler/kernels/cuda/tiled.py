"""Float convolution on CUDA cores as a product of pixels by channels, in the CPU's order.

A thread sums rows x columns outputs, each by fma over (ky, kx, c) in sequence, from 0, of what its
block has brought into shared memory: a load there serves a whole row or column of sums.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import tvm
from tvm import te, tirx

from bnn_compiler.kernels.cuda import tiled_schedule
from bnn_compiler.kernels.cuda.rows import Rows
from bnn_compiler.kernels.cuda.scalar import image
from bnn_compiler.kernels.cuda.words import WORD, whole
from bnn_compiler.kernels.epilogue import Stages, finish
from bnn_compiler.kernels.gpu_counts import GpuCounts
from bnn_compiler.kernels.point import Point
from bnn_compiler.kernels.task import Task
from bnn_compiler.kernels.workload import HalfWorkload
from bnn_compiler.ops.rounding import ceil_div, round_up
from bnn_compiler.ops.storage import Storage
from bnn_compiler.target import Gpu

#: Static shared memory of a block at most.
_SHARED = 48 * 1024
#: Products of an output that a block brings at once.
_MOST_STEP, _LEAST_STEP = 64, 8


@dataclass(frozen=True)
class TiledPoint(Point):
    """A thread has ``rows`` x ``columns`` sums, a block ``down`` x ``across`` such threads."""

    family = "tiled"
    rows: int
    columns: int
    down: int
    across: int

    @property
    def tile(self) -> str:
        """Pixels x channels of a block."""
        return f"{self.pixels}x{self.channels}"

    @property
    def pixels(self) -> int:
        """Of a block."""
        return self.rows * self.down

    @property
    def channels(self) -> int:
        """Of a block."""
        return self.columns * self.across

    @property
    def warps(self) -> int:
        """Of a block."""
        return self.down * self.across // WORD


class Tiled:
    """The family."""

    name = TiledPoint.family
    point = TiledPoint

    def fits(self, task: Task, hardware: Gpu) -> bool:
        """Float images of one group, with pixels and channels to share loads between."""
        n, h, w, c = task.work.shape
        if task.work.x.storage is not Storage.FLOAT32 or task.work.groups > 1:
            return False
        if isinstance(task.work, HalfWorkload):
            return False
        return n * h * w >= WORD and c >= WORD and step(task) > 0

    def points(self, task: Task, hardware: Gpu) -> Iterator[TiledPoint]:
        """Every tile that fits shared memory."""
        for rows in (2, 4, 8):
            for columns in (4, 8):
                for down, across in ((8, 8), (16, 8), (8, 16), (16, 16), (32, 8)):
                    point = TiledPoint(rows, columns, down, across)
                    if _possible(task, point):
                        yield point

    def rule(self, task: Task, hardware: Gpu) -> TiledPoint:
        """Large tiles if they leave every multiprocessor work."""

        def rank(p: TiledPoint) -> tuple[float, ...]:
            # Two blocks hide each other's loads.
            filled = min(1.0, blocks(task, p) / (2 * hardware.sms))
            loads = 1 / p.rows + 1 / p.columns
            return (-filled, loads, p.warps)

        return min(self.points(task, hardware), key=rank)

    def constants(
        self, task: Task, point: TiledPoint, weights: Sequence[np.ndarray]
    ) -> list[np.ndarray]:
        """Weights [O,KH,KW,C] as [KH KW C, O], of whole tiles."""
        (w,) = weights
        wide = np.zeros((depth(task), round_up(w.shape[0], point.channels)), np.float32)
        wide[:, : w.shape[0]] = w.transpose(1, 2, 3, 0).reshape(len(wide), -1)
        return [wide]

    def function(self, task: Task, point: TiledPoint) -> tirx.PrimFunc:
        """The scheduled kernel."""
        n, h, w, _ = task.work.shape
        flat = Rows(task.work.shape, round_up(n * h * w, point.pixels))
        plain = stages(task, point, flat)
        found = whole(plain, task.epilogue, task.tensors, point.channels)
        found = flat.outputs(found, int(plain.value.shape[3]))
        return flat.scatter(tiled_schedule.blocks(found, point, step(task)))

    def counts(self, task: Task, point: TiledPoint, hardware: Gpu) -> GpuCounts:
        """A step of a thread is one product of each of its sums."""
        threads, sums = WORD * point.warps, point.rows * point.columns
        brought = point.pixels + point.channels
        return GpuCounts(
            blocks=blocks(task, point),
            threads=threads,
            is_mma=False,
            is_popc=False,
            multiply=sums,
            load=(point.rows + point.columns) / 4 + brought / threads,
            load_bytes=4 * brought / threads,
            steps=depth(task),
            outputs=sums,
            computed=blocks(task, point) * point.pixels * point.channels,
            registers=32 + sums + point.rows + point.columns,
            own_pixels=point.rows,
            pixels=point.pixels,
            channels=point.channels,
            shared=_shared(task, point),
        )


def depth(task: Task) -> int:
    """Products of an output."""
    return task.work.kernel[0] * task.work.kernel[1] * task.work.x.shape[3]


def step(task: Task) -> int:
    """How many of them come at once, 0 if nothing fits: whole rows of taps, taps or parts of one.

    Then a thread's addresses differ by what is known when compiling. They are whole steps, as 0
    more could change a sum of -0.
    """
    kh, kw = task.work.kernel
    channels = task.work.x.shape[3]
    parts = [s for s in range(1, channels + 1) if channels % s == 0]
    taps = [channels * t for t in range(1, kw + 1) if kw % t == 0]
    rows = [channels * kw * t for t in range(1, kh + 1) if kh % t == 0]
    fitting = (s for s in (*parts, *taps, *rows) if _LEAST_STEP <= s <= _MOST_STEP)
    return max(fitting, default=0)


def blocks(task: Task, point: TiledPoint) -> int:
    """Of the grid."""
    n, h, w, c = task.work.shape
    return ceil_div(n * h * w, point.pixels) * ceil_div(c, point.channels)


def _shared(task: Task, point: TiledPoint) -> int:
    """Bytes of a block: a step of both factors; all sums take their place."""
    brought = step(task) * (point.pixels + point.channels)
    return 4 * max(brought, point.pixels * point.channels)


def _possible(task: Task, point: TiledPoint) -> bool:
    n, h, w, c = task.work.shape
    return (
        _shared(task, point) <= _SHARED
        and point.channels < 2 * max(WORD, round_up(c, WORD))
        and point.pixels < 2 * max(WORD, n * h * w)
        and point.pixels % point.warps == 0
    )


def stages(task: Task, point: TiledPoint, flat: Rows) -> Stages:
    """The kernel's TE: both factors as matrices, their product, the epilogue."""
    work, count = task.work, depth(task)
    columns = round_up(work.shape[3], point.channels)
    x, at = image(task)
    w = te.placeholder((count, columns), "float32", name="w")

    def input_(k: tvm.ir.Expr, m: tvm.ir.Expr) -> tvm.ir.Expr:
        n, y, z = flat.pixel(m)
        channels = work.x.shape[3]
        ky, kx = k // (work.kernel[1] * channels), k // channels % work.kernel[1]
        return at(n, (y, ky), (z, kx), k % channels)

    a = te.compute((count, flat.count), input_, name="inputs")
    b = te.compute((count, columns), lambda k, c: w[k, c], name="weights")
    rk = te.reduce_axis((0, count), "rk")
    # schedule.contract turns each step of this sum into one fma.
    acc = te.compute(
        (flat.count, columns), lambda m, c: te.sum(a[rk, m] * b[rk, c], axis=[rk]), name="acc"
    )
    return finish(
        work.shape,
        lambda _, __, m, c: acc[m, c],
        task.epilogue,
        list(task.tensors),
        [x, w],
        acc,
        flat,
    )
