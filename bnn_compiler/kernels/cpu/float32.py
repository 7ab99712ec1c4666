"""Float convolution in a defined order: fma over (ky, kx, c) in sequence, from 0."""

from collections.abc import Iterator

import numpy as np
from tvm import te, tirx

from bnn_compiler.kernels.cpu import schedule
from bnn_compiler.kernels.epilogue import Stages, finish, placeholder
from bnn_compiler.kernels.grouping import Grouping, expand, merge
from bnn_compiler.kernels.layout import LANES, Layout
from bnn_compiler.kernels.point import Point, tiles, unrolls
from bnn_compiler.kernels.workload import ConvWorkload, reduce_axes
from bnn_compiler.ops.epilogue import Epilogue
from bnn_compiler.target import Hardware


def grouping(work: ConvWorkload) -> Grouping:
    """How ``work``'s groups map onto vectors."""
    return merge(work.x.shape[3], work.shape[3], work.groups, 1)


def points(work: ConvWorkload, hardware: Hardware) -> Iterator[Point]:
    """Every schedule of ``work``."""
    per_vector = max(1, LANES * 32 // hardware.vector_bits)
    budget = (hardware.vector_registers - 1) // per_vector
    g = grouping(work)
    for pixels, vectors in tiles(work.shape[2], g.outputs // LANES, budget):
        for order in ("channels", "rows"):
            for unroll in unrolls(pixels * vectors * per_vector, g.inputs):
                yield Point("float32", pixels, vectors, 32, order, unroll)


def rule(work: ConvWorkload, hardware: Hardware) -> Point:
    """The schedule to use when nothing is known."""
    vectors = grouping(work).outputs // LANES
    return Point("float32", *schedule.choose_tile(work.shape[2], vectors, 32, hardware), 32)


def constants(work: ConvWorkload, point: Point, weights: np.ndarray) -> list[np.ndarray]:
    """Weights [O,KH,KW,C/groups] as blocks [block, ky, kx, c, lane]."""
    wide, _ = expand(weights, work.groups, grouping(work))
    blocked = wide.reshape(-1, point.lanes, *wide.shape[1:]).transpose(0, 2, 3, 4, 1)
    return [np.ascontiguousarray(blocked, np.float32)]


def function(
    work: ConvWorkload, point: Point, epilogue: Epilogue, tensors: list[Layout | None]
) -> tirx.PrimFunc:
    """The scheduled kernel."""
    return schedule.conv(stages(work, point, epilogue, tensors), point, work.image_rows)


def stages(
    work: ConvWorkload, point: Point, epilogue: Epilogue, tensors: list[Layout | None]
) -> Stages:
    """The kernel's TE."""
    g, lanes = grouping(work), point.lanes
    n, oh, ow, _ = work.shape
    per_group = g.outputs // lanes
    blocks = g.merged * per_group
    x = placeholder(work.x, "x")
    w = te.placeholder((blocks, *work.kernel, g.inputs, lanes), "float32", name="w")
    tap = work.tap()
    ry, rx, rc = reduce_axes(ry=work.kernel[0], rx=work.kernel[1], rc=g.inputs)

    def dot(i, y, z, b, lane):  # type: ignore[no-untyped-def]
        value = x[i, *tap(y, ry, z, rx), b // per_group * g.inputs + rc]
        # schedule.contract turns each step of this sum into one fma.
        return te.sum(value * w[b, ry, rx, rc, lane], axis=[ry, rx, rc])

    acc = te.compute((n, oh, ow, blocks, lanes), dot, name="acc")

    def total(i, y, z, c):  # type: ignore[no-untyped-def]
        return acc[i, y, z, c // lanes, c % lanes]

    return finish(work.shape, total, epilogue, tensors, [x, w], acc)
