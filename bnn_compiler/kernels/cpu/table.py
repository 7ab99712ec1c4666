"""Binary convolution by table look-up, for CPUs without a vector popcount.

Four activation bits ``a`` select a row of the constant table popcount(i ^ a), the weights are
stored as the indices i, one to a byte: one byte shuffle then counts four bits of as many outputs
as a vector has bytes. Counts are added in bytes and widened to 16 bits before they can overflow:
first the even bytes, then the odd ones, which needs no shuffle.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from tvm import te, tirx

from bnn_compiler.kernels.cpu import popcount, schedule
from bnn_compiler.kernels.epilogue import Stages
from bnn_compiler.kernels.layout import LANES, Layout
from bnn_compiler.kernels.point import Point, tiles
from bnn_compiler.kernels.workload import ConvWorkload, reduce_axes
from bnn_compiler.ops.epilogue import Epilogue
from bnn_compiler.target import Hardware

#: Table look-ups of 4 bits that fit a byte, in words of 32 bits: 7 * 8 * 4 <= 255.
WORDS = 7
#: 16-bit accumulators count up to this many bits.
LIMIT = 65535


def points(work: ConvWorkload, hardware: Hardware) -> Iterator[Point]:
    """Every table schedule of ``work``; none for masked groups or long reductions."""
    lanes = _vector(work, hardware)
    if lanes is None:
        return
    per_vector = lanes // LANES
    vectors = popcount.grouping(work).outputs // lanes
    # Half of the registers at most: rows, weights and counts need the others.
    for pixels, blocks in tiles(work.shape[2], vectors, hardware.vector_registers // 2):
        for order in ("channels", "rows", "strips"):
            for unroll in (0, 1):
                yield Point("table", pixels, blocks * per_vector, lanes * 8, order, unroll)


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


def rule(work: ConvWorkload, hardware: Hardware) -> Point | None:
    """The table schedule to use when nothing is known, or None where there is none."""
    fitting = [p for p in points(work, hardware) if p.unroll == 1]

    def across(p: Point) -> int:
        return p.lanes * 8 // p.word

    def cost(p: Point) -> tuple[int, float]:
        # Each pixel's word lies in a general register.
        spill = max(0, p.pixels - 8)
        # Weights that L1 does not hold are read once for a row of pixels.
        block = p.lanes * work.kernel[0] * work.kernel[1] * popcount.grouping(work).inputs // 4
        far = block > hardware.l1_kib * 1024
        loads = (1, 2) if far else (2, 1)
        wrong = p.order != ("strips" if far else "channels")
        return spill + wrong, loads[0] / p.pixels + loads[1] / across(p) - p.vectors / 1024

    return min(fitting, key=cost, default=None)


@dataclass(frozen=True)
class Chunks:
    """The reduction in two levels: ``outer`` (ky, kx, words), and ``inner`` (kx, words) of it."""

    outer: tuple[int, int, int]
    inner: tuple[int, int]


def chunks(work: ConvWorkload) -> Chunks:
    """The largest inner part, a whole row, tap or part of a tap, that a byte can count."""
    kh, kw = work.kernel
    words = -(-popcount.grouping(work).inputs // 32)
    if kw * words <= WORDS:
        return Chunks((kh, 1, 1), (kw, words))
    inner = max(d for d in range(1, WORDS + 1) if words % d == 0)
    return Chunks((kh, kw, words // inner), (1, inner))


def constants(work: ConvWorkload, point: Point, signs: np.ndarray) -> list[np.ndarray]:
    """Indices [block, ky, kx, word, 8, lane], the table, then what the base reads."""
    plane = popcount.bits(work, point, signs)[0]
    blocks, kh, kw, _, lanes = plane.shape
    words = -(-popcount.grouping(work).inputs // 32)
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
    return [index, table, *popcount.base_constants(work, signs)]


def function(
    work: ConvWorkload, point: Point, epilogue: Epilogue, tensors: list[Layout | None]
) -> tirx.PrimFunc:
    """The scheduled kernel."""
    return schedule.table(stages(work, point, epilogue, tensors), point, work.image_rows)


def stages(
    work: ConvWorkload, point: Point, epilogue: Epilogue, tensors: list[Layout | None]
) -> Stages:
    """The kernel's TE: byte sums ``part`` of each chunk, and their sum ``acc``."""
    g, lanes = popcount.grouping(work), point.lanes
    n, oh, ow, _ = work.shape
    per_group = g.outputs // lanes
    words = -(-g.inputs // 32)
    blocks = g.merged * per_group
    x = te.placeholder(work.x.physical, "uint32", name="x")
    w = te.placeholder((blocks, *work.kernel, words, 8, lanes), "uint8", name="w")
    table = te.placeholder((16, point.word // 8), "uint8", name="table")
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
    return popcount.finish_integer(work, acc, [x, w, table], epilogue, tensors)
