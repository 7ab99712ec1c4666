"""Binary convolution by table look-up, for CPUs without a vector popcount.

Four activation bits ``a`` select a row of the constant table popcount(i ^ a), the weights are
stored as the indices i, one to a byte: one byte shuffle then counts four bits of as many outputs
as a vector has bytes. Counts are added in bytes and widened to 16 bits before they can overflow:
first the even bytes, then the odd ones, which needs no shuffle.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from tvm import te, tirx

from bnn_compiler.kernels.cpu import popcount, schedule
from bnn_compiler.kernels.cpu.lookups import TABLE
from bnn_compiler.kernels.cpu.tile import Tile, loads
from bnn_compiler.kernels.epilogue import Stages
from bnn_compiler.kernels.family import Counts, Mix
from bnn_compiler.kernels.layout import LANES
from bnn_compiler.kernels.point import tiles
from bnn_compiler.kernels.task import Task
from bnn_compiler.kernels.workload import ConvWorkload, reduce_axes
from bnn_compiler.ops.rounding import ceil_div
from bnn_compiler.target import Hardware

#: Table look-ups of 4 bits that fit a byte, in words of 32 bits: 7 * 8 * 4 <= 255.
WORDS = 7
#: 16-bit accumulators count up to this many bits.
LIMIT = 65535


@dataclass(frozen=True)
class TablePoint(Tile):
    """``word`` is the width of the vector that a look-up fills, 8 bits for each output."""

    family = "table"


class Table:
    """The family."""

    name = TablePoint.family
    point = TablePoint

    def fits(self, task: Task, hardware: Hardware) -> bool:
        """Signs, but no masked groups or long reductions."""
        return task.work.is_binary and _vector(task.work, hardware) is not None

    def points(self, task: Task, hardware: Hardware) -> Iterator[TablePoint]:
        """Every tile that fits the registers."""
        lanes = _vector(task.work, hardware)
        if lanes is None:
            return
        per_vector = lanes // LANES
        vectors = popcount.grouping(task.work).outputs // lanes
        # Half of the registers at most: rows, weights and counts need the others.
        for pixels, blocks in tiles(task.work.shape[2], vectors, hardware.vector_registers // 2):
            for order in ("channels", "rows", "strips"):
                for unroll in (0, 1):
                    yield TablePoint(pixels, blocks * per_vector, lanes * 8, order, unroll)

    def rule(self, task: Task, hardware: Hardware) -> TablePoint:
        """The tile with the fewest loads, in strips where its weights are too many for L1."""
        work = task.work
        taps = work.kernel[0] * work.kernel[1]

        def cost(p: TablePoint) -> tuple[int, float]:
            # Each pixel's word lies in a general register.
            spill = max(0, p.pixels - 8)
            # Weights that L1 does not hold are read once for a row of pixels.
            block = p.lanes * taps * popcount.grouping(work).inputs // 4
            far = block > hardware.l1_kib * 1024
            pixel, vector = (1, 2) if far else (2, 1)
            wrong = p.order != ("strips" if far else "channels")
            across = p.lanes * 8 // p.word
            return spill + wrong, pixel / p.pixels + vector / across - p.vectors / 1024

        return min((p for p in self.points(task, hardware) if p.unroll == 1), key=cost)

    def constants(
        self, task: Task, point: TablePoint, weights: Sequence[np.ndarray]
    ) -> list[np.ndarray]:
        """Indices [block, ky, kx, word, 8, lane], the table, then what the base reads."""
        (signs,) = weights
        plane = popcount.bits(task.work, point, signs)[0]
        blocks, kh, kw, _, lanes = plane.shape
        words = ceil_div(popcount.grouping(task.work).inputs, 32)
        nibbles = plane[:, :, :, : words * 32].reshape(blocks, kh, kw, words, 8, 4, lanes)
        index = np.zeros((*nibbles.shape[:5], lanes), np.uint8)
        for bit in range(4):
            index |= nibbles[..., bit, :].astype(np.uint8) << np.uint8(bit)
        # Output ``half * h + k`` of a vector is byte ``2 * k + h``.
        index = index.reshape(*index.shape[:-1], -1, 2, point.word // 16).swapaxes(-1, -2)
        index = np.ascontiguousarray(index).reshape(blocks, kh, kw, words, 8, lanes)
        a = np.arange(16)[:, None]
        i = np.arange(point.word // 8)[None] & 15
        table = np.array([0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4], np.uint8)[i ^ a]
        return [index, table, *popcount.base_constants(task.work, signs)]

    def function(self, task: Task, point: TablePoint) -> tirx.PrimFunc:
        """The scheduled kernel."""
        return schedule.table(stages(task, point), point, task.work.image_rows)

    def counts(self, task: Task, point: TablePoint, hardware: Hardware) -> Counts:
        """A look-up and a sum of bytes for four inputs of each pixel and vector."""
        g = popcount.grouping(task.work)
        kh, kw = task.work.kernel
        per_tap = ceil_div(g.inputs, 4)
        a, weights = point.registers(8, hardware)
        return Counts(
            grouping=g,
            pixels=point.pixels,
            vectors=point.vectors,
            accumulators=a,
            weights=weights,
            mix=Mix(2 * a, loads(a, weights), lookup=a, add=a, scalar=2 * point.pixels),
            steps=kh * kw * per_tap,
            inner=per_tap / 8 if point.unroll else per_tap,
            body=max(1, 8 * point.unroll),
            word=point.word,
            word_bytes=1,
            word_waste=per_tap * 4 / g.inputs,
            order=point.order,
            unroll=point.unroll,
        )


def _vector(work: ConvWorkload, hardware: Hardware) -> int | None:
    """Bytes of the widest vector that divides a group's outputs, or None."""
    g = popcount.grouping(work)
    too_long = g.inputs * work.kernel[0] * work.kernel[1] > LIMIT
    if g.masked or too_long or hardware.popcount != "shuffle":
        return None
    if hardware.vector_bits not in (256, 512):
        return None
    wide = (lanes for lanes in (64, 32) if lanes * 8 <= hardware.vector_bits)
    return next((lanes for lanes in wide if g.outputs % lanes == 0), None)


@dataclass(frozen=True)
class Chunks:
    """The reduction in two levels: ``outer`` (ky, kx, words), and ``inner`` (kx, words) of it."""

    outer: tuple[int, int, int]
    inner: tuple[int, int]


def chunks(work: ConvWorkload) -> Chunks:
    """The largest inner part, a whole row, tap or part of a tap, that a byte can count."""
    kh, kw = work.kernel
    words = ceil_div(popcount.grouping(work).inputs, 32)
    if kw * words <= WORDS:
        return Chunks((kh, 1, 1), (kw, words))
    inner = max(d for d in range(1, WORDS + 1) if words % d == 0)
    return Chunks((kh, kw, words // inner), (1, inner))


def stages(task: Task, point: TablePoint) -> Stages:
    """The kernel's TE: byte sums ``part`` of each chunk, and their sum ``acc``."""
    work = task.work
    g, lanes = popcount.grouping(work), point.lanes
    n, oh, ow, _ = work.shape
    per_group = g.outputs // lanes
    words = ceil_div(g.inputs, 32)
    blocks = g.merged * per_group
    x = te.placeholder(work.x.physical, "uint32", name="x")
    w = te.placeholder((blocks, *work.kernel, words, 8, lanes), "uint8", name="w")
    table = te.placeholder((16, point.word // 8), "uint8", name=TABLE)
    tap = work.tap()
    split = chunks(work)
    ix, ic, nibble = reduce_axes(ix=split.inner[0], ic=split.inner[1], nibble=8)
    ry, rx, rc = reduce_axes(ry=split.outer[0], rx=split.outer[1], rc=split.outer[2])

    def count(i, y, z, b, lane, cy, cx, cc):  # type: ignore[no-untyped-def]
        kx, k = cx * split.inner[0] + ix, cc * split.inner[1] + ic
        word = x[i, *tap(y, cy, z, kx), b // per_group * words + k]
        bits = tirx.shift_right(word, (nibble * 4).astype("uint32")) & tirx.const(15, "uint32")
        index = w[b, cy, kx, k, nibble, lane].astype("int32")
        return te.sum(table[bits.astype("int32"), index], axis=[ix, ic, nibble])

    part = te.compute((n, oh, ow, blocks, lanes, *split.outer), count, name="part")
    vector = point.word // 8
    half = vector // 2

    def widen(i, y, z, b, lane):  # type: ignore[no-untyped-def]
        byte = lane // vector * vector + lane % half * 2 + lane % vector // half
        return te.sum(part[i, y, z, b, byte, ry, rx, rc].astype("uint16"), axis=[ry, rx, rc])

    acc = te.compute((n, oh, ow, blocks, lanes), widen, name="acc")
    return popcount.finish_integer(task, acc, [x, w, table])
