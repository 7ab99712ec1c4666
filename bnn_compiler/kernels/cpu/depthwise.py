"""Float depthwise convolution as a family of one schedule: it mixes no channels."""

from collections.abc import Iterator

import numpy as np
from tvm import tirx

from bnn_compiler.kernels.cpu import channelwise, schedule
from bnn_compiler.kernels.layout import Layout
from bnn_compiler.kernels.point import Point
from bnn_compiler.kernels.workload import ConvWorkload
from bnn_compiler.ops.epilogue import Epilogue
from bnn_compiler.target import Hardware


def points(work: ConvWorkload, hardware: Hardware) -> Iterator[Point]:
    """The one schedule."""
    yield rule(work, hardware)


def rule(work: ConvWorkload, hardware: Hardware) -> Point:
    """The same: a vector of channels of one pixel after the other."""
    return Point("depthwise", 1, 1, 32)


def constants(work: ConvWorkload, point: Point, weights: np.ndarray) -> list[np.ndarray]:
    """Weights [O,KH,KW,1] as [ky, kx, lanes]."""
    return [by_tap(work, weights)]


def by_tap(work: ConvWorkload, weights: np.ndarray) -> np.ndarray:
    """Weights [O,KH,KW,1] as float32 [KH, KW, stored channels]."""
    lanes = np.zeros((*work.kernel, work.x.channels), np.float32)
    lanes[..., : work.shape[3]] = weights[..., 0].transpose(1, 2, 0)
    return lanes


def function(
    work: ConvWorkload, point: Point, epilogue: Epilogue, tensors: list[Layout | None]
) -> tirx.PrimFunc:
    """The scheduled kernel."""
    return schedule.channelwise(channelwise.depthwise(work, epilogue, tensors))
