"""Depthwise convolution of bytes as a family of one schedule: it mixes no channels."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from tvm import te, tirx

from bnn_compiler.kernels.cpu import channelwise, int8, schedule
from bnn_compiler.kernels.epilogue import Stages, finish, fma, placeholder
from bnn_compiler.kernels.family import Counts, Mix
from bnn_compiler.kernels.grouping import merge
from bnn_compiler.kernels.layout import LANES
from bnn_compiler.kernels.point import Point
from bnn_compiler.kernels.task import Task
from bnn_compiler.ops.storage import Storage
from bnn_compiler.target import Hardware


@dataclass(frozen=True)
class Int8DepthwisePoint(Point):
    """A vector of channels of one pixel after the other."""

    family = "int8_depthwise"


class Int8Depthwise:
    """The family."""

    name = Int8DepthwisePoint.family
    point = Int8DepthwisePoint

    def fits(self, task: Task, hardware: Hardware) -> bool:
        """Each output reads one channel of bytes, its own."""
        is_bytes = task.work.x.storage is Storage.BYTES
        return is_bytes and channelwise.mixes_no_channels(task.work)

    def points(self, task: Task, hardware: Hardware) -> Iterator[Int8DepthwisePoint]:
        """The one schedule."""
        yield Int8DepthwisePoint()

    def rule(self, task: Task, hardware: Hardware) -> Int8DepthwisePoint:
        """The same."""
        return Int8DepthwisePoint()

    def constants(
        self, task: Task, point: Int8DepthwisePoint, weights: Sequence[np.ndarray]
    ) -> list[np.ndarray]:
        """Weights [O,KH,KW,1] as int16 [KH, KW, stored channels], and what int8.py's are."""
        taps, scale, bias = weights
        stored = task.work.x.channels
        lanes = np.zeros((*task.work.kernel, stored), np.int16)
        lanes[..., : len(taps)] = taps[..., 0].transpose(1, 2, 0)
        return [lanes, *int8.vectors(task.work, stored, scale, bias)]

    def function(self, task: Task, point: Int8DepthwisePoint) -> tirx.PrimFunc:
        """The scheduled kernel."""
        return schedule.channelwise(stages(task))

    def counts(self, task: Task, point: Int8DepthwisePoint, hardware: Hardware) -> Counts:
        """A product of 16 bits for each tap, which a byte and a weight fit, widened and added."""
        taps = task.work.kernel[0] * task.work.kernel[1]
        registers = 32 * LANES / hardware.vector_bits
        return Counts(
            grouping=merge(1, task.work.shape[3], 1, 1),
            pixels=1,
            vectors=1,
            accumulators=registers,
            weights=registers,
            mix=Mix(3 * registers, registers, add=registers, fma=registers),
            steps=taps,
            inner=1,
            body=taps,
            word=16,
            word_bytes=2,
        )


def stages(task: Task) -> Stages:
    """The kernel's TE."""
    work = task.work
    x = placeholder(work.x, "x")
    w = te.placeholder((*work.kernel, work.x.channels), "int16", name="w")
    scale, base, row_class, column_class = constants = int8.placeholders(work, work.x.channels)
    tap = work.tap()

    def value(i, y, z, c):  # type: ignore[no-untyped-def]
        taps = [(ky, kx) for ky in range(work.kernel[0]) for kx in range(work.kernel[1])]
        bytes_ = [x[(i, *tap(y, ky, z, kx), c)].astype("int16") for ky, kx in taps]
        products = [b * w[ky, kx, c] for b, (ky, kx) in zip(bytes_, taps, strict=True)]
        total, *others = (p.astype("int32") for p in products)
        for other in others:
            total = total + other
        exact = total.astype("float32")
        return fma(exact, scale[c], base[row_class[y], column_class[z], c])

    return finish(work.shape, value, task.epilogue, list(task.tensors), [x, w, *constants])
