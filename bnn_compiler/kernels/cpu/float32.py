"""Float convolution in a defined order: fma over (ky, kx, c) in sequence, from 0."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from tvm import te, tirx

from bnn_compiler.kernels.cpu import channelwise, schedule
from bnn_compiler.kernels.cpu.tile import Tile, loads
from bnn_compiler.kernels.epilogue import Stages, finish, placeholder
from bnn_compiler.kernels.family import Counts, Mix
from bnn_compiler.kernels.grouping import Grouping, expand, merge
from bnn_compiler.kernels.layout import LANES
from bnn_compiler.kernels.point import tiles, unrolls
from bnn_compiler.kernels.task import Task
from bnn_compiler.kernels.workload import ConvWorkload, reduce_axes
from bnn_compiler.ops.storage import Storage
from bnn_compiler.target import Hardware


def grouping(work: ConvWorkload) -> Grouping:
    """How ``work``'s groups map onto vectors."""
    return merge(work.x.shape[3], work.shape[3], work.groups, 1)


@dataclass(frozen=True)
class Float32Point(Tile):
    """``word`` is 32."""

    family = "float32"


class Float32:
    """The family."""

    name = Float32Point.family
    point = Float32Point

    def fits(self, task: Task, hardware: Hardware) -> bool:
        """Float images, but not where depthwise.py or winograd.py is the way."""
        work = task.work
        is_float = work.x.storage is Storage.FLOAT32
        return is_float and not work.winograd and not channelwise.is_depthwise(work)

    def points(self, task: Task, hardware: Hardware) -> Iterator[Float32Point]:
        """Every tile that fits the registers."""
        per_vector = max(1, LANES * 32 // hardware.vector_bits)
        budget = (hardware.vector_registers - 1) // per_vector
        g = grouping(task.work)
        for pixels, vectors in tiles(task.work.shape[2], g.outputs // LANES, budget):
            for order in ("channels", "rows"):
                for unroll in unrolls(pixels * vectors * per_vector, g.inputs):
                    yield Float32Point(pixels, vectors, 32, order, unroll)

    def rule(self, task: Task, hardware: Hardware) -> Float32Point:
        """The tile with the fewest loads."""
        vectors = grouping(task.work).outputs // LANES
        tile = schedule.choose_tile(task.work.shape[2], vectors, 32, hardware)
        return Float32Point(*tile, 32)

    def constants(
        self, task: Task, point: Float32Point, weights: Sequence[np.ndarray]
    ) -> list[np.ndarray]:
        """Weights [O,KH,KW,C/groups] as blocks [block, ky, kx, c, lane]."""
        wide, _ = expand(weights[0], task.work.groups, grouping(task.work))
        blocked = wide.reshape(-1, point.lanes, *wide.shape[1:]).transpose(0, 2, 3, 4, 1)
        return [np.ascontiguousarray(blocked, np.float32)]

    def function(self, task: Task, point: Float32Point) -> tirx.PrimFunc:
        """The scheduled kernel."""
        return schedule.conv(stages(task, point), point, task.work.image_rows)

    def counts(self, task: Task, point: Float32Point, hardware: Hardware) -> Counts:
        """An fma for each input, pixel and vector."""
        g = grouping(task.work)
        kh, kw = task.work.kernel
        accumulators, weights = point.registers(32, hardware)
        return Counts(
            grouping=g,
            pixels=point.pixels,
            vectors=point.vectors,
            accumulators=accumulators,
            weights=weights,
            mix=Mix(accumulators, loads(accumulators, weights), fma=accumulators),
            steps=kh * kw * g.inputs,
            inner=kw if point.unroll else g.inputs,
            body=max(1, g.inputs * point.unroll),
            word=point.word,
            word_bytes=4,
            order=point.order,
            unroll=point.unroll,
        )


def stages(task: Task, point: Float32Point) -> Stages:
    """The kernel's TE."""
    work = task.work
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

    return finish(work.shape, total, task.epilogue, list(task.tensors), [x, w], acc)
