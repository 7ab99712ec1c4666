"""Binary convolution by xor and popcount: the exact integer is ``base - 2 * popcount``."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import tvm
from tvm import te, tirx

from bnn_compiler.kernels.cpu import schedule
from bnn_compiler.kernels.cpu.tile import Tile, loads
from bnn_compiler.kernels.epilogue import Stages, Value, f32, finish, fma
from bnn_compiler.kernels.family import Counts, Mix
from bnn_compiler.kernels.grouping import Grouping, expand, merge
from bnn_compiler.kernels.layout import LANES
from bnn_compiler.kernels.point import tiles, unrolls
from bnn_compiler.kernels.task import Task
from bnn_compiler.kernels.workload import ConvWorkload, reduce_axes
from bnn_compiler.ops.rounding import ceil_div
from bnn_compiler.target import Hardware


def grouping(work: ConvWorkload) -> Grouping:
    """How ``work``'s groups map onto words of 32 bits and vectors."""
    return merge(work.x.shape[3], work.shape[3], work.groups, 32)


@dataclass(frozen=True)
class PopcountPoint(Tile):
    """``word`` bits are counted at a time."""

    family = "popcount"


class Popcount:
    """The family."""

    name = PopcountPoint.family
    point = PopcountPoint

    def fits(self, task: Task, hardware: Hardware) -> bool:
        """Signs."""
        return task.work.is_binary

    def points(self, task: Task, hardware: Hardware) -> Iterator[PopcountPoint]:
        """Every word, and every tile that fits the registers."""
        g = grouping(task.work)
        for word in words(task.work, hardware):
            per_vector = max(1, LANES * word // hardware.vector_bits)
            budget = max(1, (hardware.vector_registers - 4) // per_vector)
            for pixels, vectors in tiles(task.work.shape[2], g.outputs // LANES, budget):
                for order in ("channels", "rows"):
                    for unroll in unrolls(pixels * vectors * per_vector, ceil_div(g.inputs, word)):
                        yield PopcountPoint(pixels, vectors, word, order, unroll)

    def rule(self, task: Task, hardware: Hardware) -> PopcountPoint:
        """The word that is counted fastest, the tile with the fewest loads."""
        work = task.work
        # Without a vector popcount LLVM sums bytes with vpsadbw, whose result is 64 bits wide.
        wanted = {"shuffle": 64, "cnt": 16}.get(hardware.popcount, 32)
        word = min(words(work, hardware), key=lambda w: abs(w - wanted))
        vectors = grouping(work).outputs // LANES
        if hardware.popcount == "cnt":
            tile = _neon_tile(work, vectors, word, hardware)
        else:
            tile = schedule.choose_tile(work.shape[2], vectors, word, hardware)
        return PopcountPoint(*tile, word)

    def constants(
        self, task: Task, point: PopcountPoint, weights: Sequence[np.ndarray]
    ) -> list[np.ndarray]:
        """Weights, masks, what ``base`` reads, from int8 weights [O,KH,KW,C/groups] of -1/+1."""

        def packed(plane: np.ndarray) -> np.ndarray:
            by_lane = np.packbits(plane.swapaxes(3, 4), axis=-1, bitorder="little")
            return np.ascontiguousarray(by_lane.view(f"uint{point.word}").swapaxes(3, 4))

        (signs,) = weights
        dtype = "int16" if point.word == 16 else "float32"
        base = base_constants(task.work, signs, dtype)
        return [*map(packed, bits(task.work, point, signs)), *base]

    def function(self, task: Task, point: PopcountPoint) -> tirx.PrimFunc:
        """The scheduled kernel: popcount(x ^ w) summed over taps and words, then the epilogue."""
        return schedule.conv(stages(task, point), point, task.work.image_rows)

    def counts(self, task: Task, point: PopcountPoint, hardware: Hardware) -> Counts:
        """An xor, a popcount and a sum for each word, pixel and vector."""
        g = grouping(task.work)
        kh, kw = task.work.kernel
        per_tap = ceil_div(g.inputs, point.word)
        a, weights = point.registers(point.word, hardware)
        # By shuffles a popcount takes two look-ups, masks and shifts, and a sum of bytes.
        count = 1 if hardware.popcount != "shuffle" else 8
        return Counts(
            grouping=g,
            pixels=point.pixels,
            vectors=point.vectors,
            accumulators=a,
            weights=weights,
            mix=Mix((2 + count) * a, loads(a, weights), xor=a, popcount=count * a, add=a),
            steps=kh * kw * per_tap,
            inner=kw if point.unroll else per_tap,
            body=max(1, per_tap * point.unroll),
            word=point.word,
            word_bytes=point.word / 8,
            word_waste=per_tap * point.word / g.inputs,
            order=point.order,
            unroll=point.unroll,
        )


def words(work: ConvWorkload, hardware: Hardware) -> list[int]:
    """Word widths in bits that the stored channels allow and that this CPU counts well.

    NEON counts bytes and adds pairs of them to sums of 16 bits in one instruction; ``base`` is at
    most twice the number of taps and has 16 bits too.
    """
    g = grouping(work)
    if hardware.popcount == "cnt":
        return [16] if g.inputs * work.kernel[0] * work.kernel[1] < 1 << 14 else [32]
    even = ceil_div(g.inputs, 32) % 2 == 0 and work.x.channels % 2 == 0
    return [32, 64] if even else [32]


def _neon_tile(work: ConvWorkload, vectors: int, word: int, hardware: Hardware) -> tuple[int, int]:
    """The tile (pixels, vectors) with the fewest loads and broadcasts that stays in registers.

    A word of activations is a copy of a lane here, which takes an instruction and a vector pipe.
    """
    per_vector = LANES * word // hardware.vector_bits
    free = (hardware.vector_registers - 4) // per_vector
    steps = work.kernel[0] * work.kernel[1] * ceil_div(grouping(work).inputs, word)
    # A short reduction is unrolled into its epilogue, which needs the registers.
    short = steps <= 8

    def fits(tile: tuple[int, int]) -> bool:
        pixels, across = tile
        if short:
            return across == 1 and pixels <= 4
        return (pixels + 1) * across <= free and pixels * across * per_vector <= 16

    found = filter(fits, tiles(work.shape[2], vectors, free))
    return min(found, key=lambda t: (1 / t[0] + 1 / t[1], -t[1]))


def bits(work: ConvWorkload, point: Tile, signs: np.ndarray) -> list[np.ndarray]:
    """Weights [O,KH,KW,C/groups] as blocks [block, ky, kx, C, lane] of bits; masks, if any."""
    g = grouping(work)
    wide, real = expand(signs, work.groups, g)
    o, kh, kw, c = wide.shape
    planes = np.zeros((2, o, kh, kw, ceil_div(c, point.word) * point.word), bool)
    planes[0, ..., :c], planes[1, ..., :c] = wide > 0, real
    return [
        p.reshape(o // point.lanes, point.lanes, *p.shape[1:]).transpose(0, 2, 3, 4, 1)
        for p in planes[: 1 + g.masked]
    ]


def stages(task: Task, point: PopcountPoint) -> Stages:
    """The kernel's TE."""
    work = task.work
    g, lanes = grouping(work), point.lanes
    n, oh, ow, _ = work.shape
    per_group = g.outputs // lanes
    count = ceil_div(g.inputs, point.word)
    dtype = f"uint{point.word}"
    stored = work.x.physical
    x = te.placeholder((*stored[:3], stored[3] * 32 // point.word), dtype, name="x")
    shape = (g.merged * per_group, *work.kernel, count, lanes)
    w = te.placeholder(shape, dtype, name="w")
    mask = te.placeholder(shape, dtype, name="mask") if g.masked else None
    tap = work.tap()
    ry, rx, rc = reduce_axes(ry=work.kernel[0], rx=work.kernel[1], rc=count)

    def differ(i, y, z, b, lane):  # type: ignore[no-untyped-def]
        word = x[i, *tap(y, ry, z, rx), b // per_group * count + rc]
        word = word ^ w[b, ry, rx, rc, lane]
        if mask is not None:
            word = word & mask[b, ry, rx, rc, lane]
        return te.sum(tirx.popcount(word), axis=[ry, rx, rc])

    acc = te.compute((n, oh, ow, shape[0], lanes), differ, name="acc")
    inputs = [x, w, *([mask] if mask is not None else [])]
    return finish_integer(task, acc, inputs, narrow=point.word == 16)


def finish_integer(
    task: Task, acc: te.Tensor, inputs: list[te.Tensor], narrow: bool = False
) -> Stages:
    """``base - 2 * acc`` for popcounts ``acc`` [N, OH, OW, block, lane], then the epilogue.

    ``narrow`` computes it in 16 bits, whose vectors are half as many.
    """
    more, base = _base(task.work, int(acc.shape[3]) * int(acc.shape[4]), narrow)
    lanes = int(acc.shape[4])

    def integer(i, y, z, c):  # type: ignore[no-untyped-def]
        counted = acc[i, y, z, c // lanes, c % lanes]
        if narrow:
            twice = counted.astype("int16") * tirx.const(2, "int16")
            return (base(i, y, z, c) - twice).astype("int32").astype("float32")
        return fma(f32(-2), counted.astype("int32").astype("float32"), base(i, y, z, c))

    tensors = list(task.tensors)
    return finish(task.work.shape, integer, task.epilogue, tensors, [*inputs, *more], acc)


def _by_class(work: ConvWorkload) -> bool:
    return work.pad_value == 0 and any(work.padding)


def base_constants(
    work: ConvWorkload, signs: np.ndarray, dtype: str = "float32"
) -> list[np.ndarray]:
    """For zero padding the table [cy, cx, O] of bases and the classes of rows and columns."""
    if not _by_class(work):
        return []
    wide, real = expand(signs, work.groups, grouping(work))
    (row, ys), (col, xs) = work.border_classes(0), work.border_classes(1)
    taps = real.sum(axis=-1, dtype=np.int64)
    ones = ((wide > 0) & real).sum(axis=-1, dtype=np.int64)
    base = np.empty((len(ys), len(xs), len(wide)), dtype)
    for i, vy in enumerate(ys):
        for j, vx in enumerate(xs):
            valid = (vy[:, None] & vx[None, :])[None]
            # Kernel rows in the padding are skipped; a padded tap elsewhere has bits 0 and adds
            # popcount(w) to the kernel's count.
            base[i, j] = np.where(valid, taps, np.where(vy[:, None], 2 * ones, 0)).sum(axis=(1, 2))
    return [base, row, col]


def _base(work: ConvWorkload, outputs: int, narrow: bool) -> tuple[list[te.Tensor], Value]:
    """Parameters, and the number of taps, corrected for those in zero padding."""
    dtype = "int16" if narrow else "float32"
    if not _by_class(work):
        taps = work.x.shape[3] // work.groups * work.kernel[0] * work.kernel[1]
        return [], _constant(tirx.const(taps, dtype))
    (_, ys), (_, xs) = work.border_classes(0), work.border_classes(1)
    table = te.placeholder((len(ys), len(xs), outputs), dtype, name="base")
    rows = te.placeholder((work.shape[1],), "int32", name="row")
    cols = te.placeholder((work.shape[2],), "int32", name="col")
    return [table, rows, cols], lambda i, y, z, c: table[rows[y], cols[z], c]


def _constant(value: tvm.ir.Expr) -> Callable[..., tvm.ir.Expr]:
    return lambda *_: value
