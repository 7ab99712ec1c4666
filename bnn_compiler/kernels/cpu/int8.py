"""Convolution of bytes with 8-bit weights: exact in 32 bits, then one fma.

A step of the reduction is four products, of bytes that lie one after the other, for every output
of a tile. Where a CPU has an instruction for that (``vpdpbusd``, ``sdot``) it is one. Elsewhere x86
multiplies pairs of 16 bits (``vpmaddwd``: with the sums 4 instructions for 4 products of 8 outputs,
where ``vpmaddubsw`` would take 3, but saturates unless weights have 7 bits), and NEON bytes
(``smull``), whose products of 16 bits are added to the sums in pairs (``sadalp``): 4 instructions
for 4 products of 4 outputs. quads.py names them.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from tvm import te, tirx

from bnn_compiler.kernels.cpu import channelwise, schedule
from bnn_compiler.kernels.cpu.tile import Tile, loads
from bnn_compiler.kernels.epilogue import Stages, finish, fma
from bnn_compiler.kernels.family import Counts, Mix
from bnn_compiler.kernels.grouping import Grouping, expand, merge
from bnn_compiler.kernels.layout import LANES
from bnn_compiler.kernels.point import tiles, unrolls
from bnn_compiler.kernels.task import Task
from bnn_compiler.kernels.workload import ConvWorkload, reduce_axes
from bnn_compiler.ops.reference import byte_base
from bnn_compiler.ops.rounding import ceil_div
from bnn_compiler.ops.storage import Storage
from bnn_compiler.target import Hardware

#: Products of a step.
QUAD = 4
#: A byte less this is signed.
OFFSET = 128


@dataclass(frozen=True)
class Int8Point(Tile):
    """``word`` is 8 where four products of bytes are one instruction, 32 where two of 16 bits are,
    16 where two of bytes are added by one. ``signed`` bytes are what the instruction takes: 128
    less, which a sum of the weights makes up for.
    """

    family = "int8"

    signed: bool = False

    @property
    def in_lanes(self) -> int:
        """On NEON, of 16 bytes."""
        return 4 if self.signed and self.word == 8 else 0


@dataclass(frozen=True)
class _Reduction:
    """``rows`` x ``columns`` runs of ``length`` bytes one after the other.

    A row of the kernel is one run where its taps are neighbours in memory, and nothing but them.
    """

    rows: int
    columns: int
    length: int

    @staticmethod
    def of(work: ConvWorkload) -> "_Reduction":
        kh, kw = work.kernel
        inputs = grouping(work).inputs
        whole = work.groups == 1 and work.dilation[1] == 1 and work.x.channels == work.x.shape[3]
        return _Reduction(kh, 1, kw * inputs) if whole else _Reduction(kh, kw, inputs)

    @property
    def steps(self) -> int:
        """Of a run."""
        return ceil_div(self.length, QUAD)


def grouping(work: ConvWorkload) -> Grouping:
    """How ``work``'s groups map onto steps and vectors."""
    return merge(work.x.shape[3], work.shape[3], work.groups, QUAD)


class Int8:
    """The family."""

    name = Int8Point.family
    point = Int8Point

    def fits(self, task: Task, hardware: Hardware) -> bool:
        """Bytes, but not where int8_depthwise.py is the way."""
        is_bytes = task.work.x.storage is Storage.BYTES
        return is_bytes and not channelwise.mixes_no_channels(task.work)

    def points(self, task: Task, hardware: Hardware) -> Iterator[Int8Point]:
        """Every tile that fits the registers."""
        g = grouping(task.work)
        per_vector = max(1, LANES * 32 // hardware.vector_bits)
        budget = max(1, (hardware.vector_registers - 4) // per_vector)
        form = _form(hardware)
        for pixels, vectors in tiles(task.work.shape[2], g.outputs // LANES, budget):
            point = Int8Point(pixels, vectors, form.word, signed=form.signed)
            if _registers(point, hardware) > hardware.vector_registers:
                continue
            body = 4 * pixels * vectors * per_vector
            for order in ("channels", "rows"):
                for unroll in unrolls(body, _Reduction.of(task.work).steps):
                    yield replace(point, order=order, unroll=unroll)

    def rule(self, task: Task, hardware: Hardware) -> Int8Point:
        """The tile with the fewest instructions for a product."""

        def work(point: Int8Point) -> tuple[float, int]:
            counts = self.counts(task, point, hardware)
            return (counts.mix.vector + counts.mix.loads) / counts.accumulators, -point.vectors

        inner = [p for p in self.points(task, hardware) if p.order == "channels" and not p.unroll]
        return min(inner, key=work)

    def constants(
        self, task: Task, point: Int8Point, weights: Sequence[np.ndarray]
    ) -> list[np.ndarray]:
        """Weights [block, ky, kx, step, ...]; scale [O]; the bias by border class; the classes.

        The last axes are [lane, tap] of bytes, [half, lane, tap] for pairs: of 16 bits (taps 0 and
        2, then 1 and 3), or of bytes (0 and 1, then 2 and 3). ``signed`` ones have sums of weights
        [O] at the end. ``weights`` are int8 [O,KH,KW,C/groups], the scale [O] and the bias
        [O,KH,KW].
        """
        taps, scale, bias = weights
        work, g = task.work, grouping(task.work)
        o, lanes = len(taps), g.merged * g.outputs
        wide, _ = expand(taps, work.groups, g)
        r = _Reduction.of(work)
        runs = np.zeros((lanes, r.rows, r.columns, r.steps * QUAD), np.int8)
        runs[..., : r.length] = wide.reshape(lanes, r.rows, r.columns, r.length)
        blocks = runs.reshape(-1, point.lanes, r.rows, r.columns, r.steps, QUAD)
        packed: np.ndarray = blocks.transpose(0, 2, 3, 4, 1, 5)
        pairs = packed.reshape(*packed.shape[:-1], 2, 2)
        if point.word == 32:
            packed = pairs.astype(np.int16).transpose(0, 1, 2, 3, 6, 4, 5)
        elif point.word == 16:
            packed = pairs.transpose(0, 1, 2, 3, 5, 4, 6)
        constants = [np.ascontiguousarray(packed), *vectors(work, lanes, scale, bias)]
        if point.signed:
            sums = np.zeros(lanes, np.int32)
            sums[:o] = OFFSET * taps.astype(np.int32).sum(axis=(1, 2, 3))
            constants.append(sums)
        return constants

    def function(self, task: Task, point: Int8Point) -> tirx.PrimFunc:
        """The scheduled kernel; a sum of weights counts those in padding too."""
        rows = None if point.signed else task.work.image_rows
        return schedule.conv(stages(task, point), point, rows)

    def counts(self, task: Task, point: Int8Point, hardware: Hardware) -> Counts:
        """A step: products and their sums, loads, and what makes 16 bits of bytes."""
        r = _Reduction.of(task.work)
        accumulators, weights = point.registers(32, hardware)
        # Instructions for each accumulator and for each pixel; vectors of weights.
        each, widen, wide = {8: (1, 0, 1), 32: (4, 2, 2), 16: (4, 3, 1)}[point.word]
        vector = each * accumulators + widen * point.pixels
        return Counts(
            grouping=grouping(task.work),
            pixels=point.pixels,
            vectors=point.vectors,
            accumulators=accumulators,
            weights=weights,
            mix=Mix(
                vector,
                loads(accumulators, weights) + (wide - 1) * weights,
                add=(each - 1) * accumulators / 2 or accumulators,
                fma=accumulators,
            ),
            steps=r.rows * r.columns * r.steps,
            inner=r.columns if point.unroll else r.steps,
            body=max(1, r.steps * point.unroll),
            word=point.word,
            word_bytes=QUAD * wide,
            order=point.order,
            unroll=point.unroll,
        )


@dataclass(frozen=True)
class _Form:
    word: int
    signed: bool


def _form(hardware: Hardware) -> _Form:
    if hardware.dot:
        return _Form(8, not hardware.pairs)
    return _Form(32, False) if hardware.pairs else _Form(16, True)


def _registers(point: Int8Point, hardware: Hardware) -> float:
    """Accumulators, the weights of a step, bytes in all their forms, a product."""
    accumulators, weights = point.registers(32, hardware)
    return accumulators + {8: weights + 1, 32: 2 * weights + 4, 16: weights + 4}[point.word]


def vectors(
    work: ConvWorkload, lanes: int, scale: np.ndarray, bias: np.ndarray
) -> list[np.ndarray]:
    """Scale [lanes]; bias [classes of rows, of columns, lanes]; classes of rows and columns."""
    factor = np.zeros(lanes, np.float32)
    factor[: len(scale)] = scale
    (row, ys), (col, xs) = work.border_classes(0), work.border_classes(1)
    base = np.zeros((len(ys), len(xs), lanes), np.float32)
    base[..., : len(scale)] = byte_base(bias, ys, xs)
    return [factor, base, row, col]


def placeholders(work: ConvWorkload, lanes: int) -> list[te.Tensor]:
    """The parameters that ``vectors`` makes."""
    (_, ys), (_, xs) = work.border_classes(0), work.border_classes(1)
    return [
        te.placeholder((lanes,), "float32", name="scale"),
        te.placeholder((len(ys), len(xs), lanes), "float32", name="base"),
        te.placeholder((work.shape[1],), "int32", name="row"),
        te.placeholder((work.shape[2],), "int32", name="col"),
    ]


def stages(task: Task, point: Int8Point) -> Stages:
    """The kernel's TE."""
    work, lanes, r = task.work, point.lanes, _Reduction.of(task.work)
    g = grouping(work)
    n, oh, ow, _ = work.shape
    per_group = g.outputs // lanes
    blocks = g.merged * per_group
    _, rows, columns, channels = work.x.physical
    x = te.placeholder((n, rows, columns * channels), "uint8", name="x")
    last = (lanes, QUAD) if point.word == 8 else (2, lanes, 2)
    dtype = "int16" if point.word == 32 else "int8"
    w = te.placeholder((blocks, r.rows, r.columns, r.steps, *last), dtype, name="w")
    scale, base, row_class, column_class = constants = placeholders(work, blocks * lanes)
    tap = work.tap()
    ry, rx, rq = reduce_axes(ry=r.rows, rx=r.columns, rq=r.steps)

    def factors(one, i, y, z, b, lane):  # type: ignore[no-untyped-def]
        row, column = tap(y, ry, z, rx)
        at = column * channels + b // per_group * g.inputs + rq * QUAD + one
        value = x[i, row, at].astype("int32")
        halves = {8: (lane, one), 32: (one % 2, lane, one // 2), 16: (one // 2, lane, one % 2)}
        inside = halves[point.word]
        weight = w[(b, ry, rx, rq, *inside)].astype("int32")
        return (value - OFFSET if point.signed else value) * weight

    def total(*at):  # type: ignore[no-untyped-def]
        # In the order in which pairs lie.
        order = (0, 2, 1, 3) if point.word == 32 else range(QUAD)
        first, *others = (factors(one, *at) for one in order)
        for other in others:
            first = first + other
        return te.sum(first, axis=[ry, rx, rq])

    acc = te.compute((n, oh, ow, blocks, lanes), total, name="acc")
    offset = te.placeholder((blocks * lanes,), "int32", name="offset")

    def value(i, y, z, c):  # type: ignore[no-untyped-def]
        exact = acc[i, y, z, c // lanes, c % lanes]
        exact = exact + offset[c] if point.signed else exact
        return fma(exact.astype("float32"), scale[c], base[row_class[y], column_class[z], c])

    inputs = [x, w, *constants, *([offset] if point.signed else [])]
    return finish(work.shape, value, task.epilogue, list(task.tensors), inputs, acc)
