"""Float convolution on tensor cores, of halves with float32 sums: only with --allow-reorder.

Images of few channels are staged: a block rounds the rectangle that its tile of outputs reads to
pairs of halves in shared memory, and reads every tap from there. Others are read tap by tap, two
channels at a time.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from tvm import tirx

from bnn_compiler.kernels.cuda import half_schedule, half_stages
from bnn_compiler.kernels.cuda.half_shape import HalfPoint, Shape
from bnn_compiler.kernels.cuda.instruction import COLUMNS, HALVES
from bnn_compiler.kernels.cuda.words import WORD, whole
from bnn_compiler.kernels.gpu_counts import GpuCounts
from bnn_compiler.kernels.layout import LANES
from bnn_compiler.kernels.task import Task
from bnn_compiler.kernels.workload import HalfWorkload
from bnn_compiler.ops import half
from bnn_compiler.ops.rounding import ceil_div, round_up
from bnn_compiler.target import Gpu

#: Static shared memory of a block, its threads, and a thread's sums, at most.
_SHARED, _THREADS, _SUMS = 48 * 1024, 256, 64
#: Warps that a multiprocessor wants.
_WARPS = 8
#: Instructions that stage a word; that store a value; and those of a value that is pooled.
_STAGE, _STORE, _POOL = 16, 8, 3
#: Warps down and across a block of staged images.
_WARPS_OF_BLOCK = ((1, 1), (2, 1), (3, 1), (4, 1), (5, 1), (8, 1), (1, 2), (2, 2), (3, 2), (4, 2))
#: Channels from which on an image is not staged.
_STAGED = LANES


class Half:
    """The family."""

    name = HalfPoint.family
    point = HalfPoint

    def fits(self, task: Task, hardware: Gpu) -> bool:
        """Where the pass that lets floats be halves asked for it."""
        return isinstance(task.work, HalfWorkload)

    def points(self, task: Task, hardware: Gpu) -> Iterator[HalfPoint]:
        """Every tile whose sums fit registers and shared memory."""
        form = "half" if hardware.sm >= 80 else "half8"
        staged = [p for p in _staged(task, form) if _possible(task, p)] if _is_staged(task) else []
        # What a tile reads may be too much: far taps.
        yield from staged or (p for p in _direct(task, form) if _possible(task, p))

    def rule(self, task: Task, hardware: Gpu) -> HalfPoint:
        """The fewest instructions, if they leave every multiprocessor warps to hide latencies."""
        n, h, w, _ = task.work.shape

        def rank(p: HalfPoint) -> tuple[float, ...]:
            shape = Shape(task, p)
            blocks = shape.blocks * (shape.channels // p.channels)
            # Of a matrix of few pixels most warps may have none.
            rows = n * h * w if p.height == 0 else shape.blocks * shape.rows
            warps = ceil_div(rows, shape.rows // p.down) * p.splits * (shape.channels // COLUMNS)
            filled = min(1.0, warps / p.columns / (_WARPS * hardware.sms))
            return (blocks * _instructions(shape) / filled, p.warps)

        return min(self.points(task, hardware), key=rank)

    def constants(
        self, task: Task, point: HalfPoint, weights: Sequence[np.ndarray]
    ) -> list[np.ndarray]:
        """Weights as fragments; what sums are multiplied by; of a pool what is added then."""
        w, *affine = weights
        halves, scale = half.halves(w)
        shape = Shape(task, point)
        vectors = [scale]
        if affine:
            factor, bias = affine
            # The largest of scaled sums is the largest sum, scaled, by what is not negative.
            halves = np.where(factor[:, None, None, None] < 0, -halves, halves)
            # Powers of two: the same bits as one after the other.
            vectors = [scale * np.abs(factor), bias]
        lanes = round_up(len(w), LANES)
        padded = [np.pad(v.astype(np.float32), (0, lanes - len(v))) for v in vectors]
        return [shape.fragments(halves), *padded]

    def function(self, task: Task, point: HalfPoint) -> tirx.PrimFunc:
        """The scheduled kernel."""
        shape = Shape(task, point)
        plain = half_stages.stages(shape)
        found = whole(plain, task.epilogue, task.tensors, point.channels)
        found = shape.flat.outputs(found, int(plain.value.shape[3]))
        return shape.flat.scatter(half_schedule.blocks(found, shape))

    def counts(self, task: Task, point: HalfPoint, hardware: Gpu) -> GpuCounts:
        """Of a warp's tile; a lane's registers of the input and the weights are its loads."""
        shape, i = Shape(task, point), HALVES[point.form]
        rows = shape.rows // point.down // i.rows
        inputs, weights, sums = i.registers
        channels, threads = round_up(point.channels, WORD), 32 * point.warps
        return GpuCounts(
            blocks=shape.blocks * (shape.channels // point.channels),
            threads=threads,
            is_mma=True,
            is_popc=False,
            multiply=rows * point.columns,
            load=rows * inputs + point.columns,
            load_bytes=4 * (rows * inputs * (1 if shape.staged else 2) + point.columns * weights),
            steps=shape.steps,
            outputs=point.outputs * channels / threads,
            computed=shape.blocks * shape.rows * shape.channels,
            registers=32 + rows * (point.columns * sums + inputs) + point.columns * weights,
            own_pixels=rows * i.rows,
            pixels=shape.rows,
            channels=point.channels,
            parts=point.splits,
            shared=shape.shared,
        )


def _is_staged(task: Task) -> bool:
    work = task.work
    assert isinstance(work, HalfWorkload)
    return work.image or work.x.shape[3] < _STAGED


def _instructions(shape: Shape) -> float:
    """Of a block's warps, about."""
    point, i, (kh, kw) = shape.point, shape.instruction, shape.work.pooled.kernel
    rows, columns, steps = shape.rows // i.rows, point.channels // COLUMNS, shape.all_steps
    # A load of two words from global memory is one of two lines.
    inputs = i.registers[0] * (1 if shape.staged else 2)
    loads = rows * inputs * point.across + 2 * columns * point.down
    vectors = point.channels / WORD
    sums = point.splits * shape.rows * vectors
    stored = point.outputs * vectors * (_STORE + _POOL * kh * kw)
    staged = shape.staged_words / WORD * _STAGE if shape.staged else 0
    return staged + steps * (2 * rows * columns + loads) + sums + stored


def _staged(task: Task, form: str) -> Iterator[HalfPoint]:
    _, h, w, _ = task.work.shape
    for height in (1, 2, 4, 5, 8, 16):
        for width in (1, 2, 4, 6, 7, 8, 12, 14, 16, 28, 32):
            # Larger than the image is only worth it if nothing smaller covers it.
            if (height > 1 and height // 2 >= h) or (width > 1 and width // 2 >= w):
                continue
            for columns in (4, 8):
                for down, across in _WARPS_OF_BLOCK:
                    yield HalfPoint(form, height, width, columns, down, across)


def _direct(task: Task, form: str) -> Iterator[HalfPoint]:
    rows = HALVES[form].rows
    for tiles in (1, 2, 4):
        for columns in (4, 8):
            for down, across in ((1, 1), (2, 1), (4, 1), (1, 2), (2, 2)):
                for splits in (1, 2, 4, 8):
                    width = rows * tiles * down
                    yield HalfPoint(form, 0, width, columns, down, across, splits)


def _possible(task: Task, point: HalfPoint) -> bool:
    i = HALVES[point.form]
    shape = Shape(task, point)
    sums = shape.rows // point.down // i.rows * point.columns * i.registers[2]
    return (
        point.warps * 32 <= _THREADS
        and point.outputs % point.warps == 0
        and sums <= _SUMS
        and shape.shared <= _SHARED
        # Parts of one step at least, and no tile of channels that are all padding.
        and shape.all_steps >= point.splits
        and point.channels < 2 * max(WORD, round_up(task.work.shape[3], WORD))
    )
