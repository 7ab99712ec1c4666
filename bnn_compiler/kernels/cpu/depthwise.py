"""Float depthwise convolution as a family of one schedule: it mixes no channels."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from tvm import tirx

from bnn_compiler.kernels.cpu import channelwise, schedule
from bnn_compiler.kernels.family import Counts, Mix
from bnn_compiler.kernels.grouping import merge
from bnn_compiler.kernels.layout import LANES
from bnn_compiler.kernels.point import Point
from bnn_compiler.kernels.task import Task
from bnn_compiler.target import Hardware


@dataclass(frozen=True)
class DepthwisePoint(Point):
    """A vector of channels of one pixel after the other."""

    family = "depthwise"


class Depthwise:
    """The family."""

    name = DepthwisePoint.family
    point = DepthwisePoint

    def fits(self, task: Task, hardware: Hardware) -> bool:
        """Each output reads one channel, its own."""
        return channelwise.is_depthwise(task.work)

    def points(self, task: Task, hardware: Hardware) -> Iterator[DepthwisePoint]:
        """The one schedule."""
        yield DepthwisePoint()

    def rule(self, task: Task, hardware: Hardware) -> DepthwisePoint:
        """The same."""
        return DepthwisePoint()

    def constants(
        self, task: Task, point: DepthwisePoint, weights: Sequence[np.ndarray]
    ) -> list[np.ndarray]:
        """Weights [O,KH,KW,1] as float32 [KH, KW, stored channels]."""
        lanes = np.zeros((*task.work.kernel, task.work.x.channels), np.float32)
        lanes[..., : task.work.shape[3]] = weights[0][..., 0].transpose(1, 2, 0)
        return [lanes]

    def function(self, task: Task, point: DepthwisePoint) -> tirx.PrimFunc:
        """The scheduled kernel."""
        stages = channelwise.depthwise(task.work, task.epilogue, list(task.tensors))
        return schedule.channelwise(stages)

    def counts(self, task: Task, point: DepthwisePoint, hardware: Hardware) -> Counts:
        """An fma for each tap, with a load of the input and one of the weight."""
        taps = task.work.kernel[0] * task.work.kernel[1]
        registers = 32 * LANES / hardware.vector_bits
        return Counts(
            grouping=merge(1, task.work.shape[3], 1, 1),
            pixels=1,
            vectors=1,
            accumulators=registers,
            weights=registers,
            mix=Mix(registers, 2 * registers, fma=registers),
            steps=taps,
            inner=1,
            body=taps,
            word=32,
            word_bytes=4,
        )
