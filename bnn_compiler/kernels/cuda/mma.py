"""Binary convolution on tensor cores: a product of pixels by channels, exact for every form.

With bits a of the input and w of the weights, the sum of products of signs is

    and     taps - 2 popc(w) + 4 popc(a & w) - 2 popc(a)
    xor     taps - 2 popc(a ^ w)
    int8    taps - 2 popc(w) + 2 sum(a * sign(w))

popc(a) comes from one more tile of weights, all ones; of masked groups, from a tile of masks for
each tile of weights. Taps in zero padding are bits 0: in the first and last form they add nothing.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import tvm
from tvm import te, tirx

from bnn_compiler.kernels.cpu.popcount import grouping
from bnn_compiler.kernels.cuda import mma_schedule
from bnn_compiler.kernels.cuda.border import Border
from bnn_compiler.kernels.cuda.instruction import COLUMNS, INSTRUCTIONS, Instruction
from bnn_compiler.kernels.cuda.rows import Rows
from bnn_compiler.kernels.cuda.words import WORD, whole
from bnn_compiler.kernels.epilogue import Stages, finish, placeholder
from bnn_compiler.kernels.gpu_counts import GpuCounts
from bnn_compiler.kernels.grouping import expand
from bnn_compiler.kernels.point import Point
from bnn_compiler.kernels.task import Task
from bnn_compiler.ops.rounding import ceil_div, round_up
from bnn_compiler.target import Gpu

#: Static shared memory of a block, and its threads, at most.
_SHARED, _THREADS = 48 * 1024, 512


@dataclass(frozen=True)
class MmaPoint(Point):
    """A warp has ``rows`` x ``columns`` tiles of the instruction ``form``.

    A block has ``down`` x ``across`` such warps, each reducing a part of ``splits`` alone.
    """

    family = "mma"
    form: str
    rows: int
    columns: int
    down: int = 1
    across: int = 1
    splits: int = 1

    @property
    def tile(self) -> str:
        """Pixels x channels of a block."""
        return f"{self.pixels}x{self.channels}"

    @property
    def pixels(self) -> int:
        """Of a block."""
        return INSTRUCTIONS[self.form].rows * self.rows * self.down

    @property
    def channels(self) -> int:
        """Of a block."""
        return COLUMNS * self.columns * self.across

    @property
    def warps(self) -> int:
        """Of a block."""
        return self.down * self.across * self.splits


class Mma:
    """The family."""

    name = MmaPoint.family
    point = MmaPoint

    def fits(self, task: Task, hardware: Gpu) -> bool:
        """Signs, with channels enough for a tile; XOR cannot mask."""
        if not task.work.is_binary:
            return False
        g = grouping(task.work)
        if hardware.binary == "xor" and g.masked:
            return False
        # Below, most of a tile is padding.
        if task.work.shape[3] < COLUMNS or _per_output(task) < WORD:
            return False
        # A block's channels are of one merged group.
        return next(self.points(task, hardware), None) is not None

    def points(self, task: Task, hardware: Gpu) -> Iterator[MmaPoint]:
        """Every tile whose sums fit registers and shared memory."""
        for rows in (1, 2, 4):
            for columns in (4, 8):
                for down, across in ((1, 1), (2, 1), (4, 1), (1, 2), (2, 2)):
                    for splits in (1, 2, 4, 8):
                        point = MmaPoint(hardware.binary, rows, columns, down, across, splits)
                        if _possible(task, point):
                            yield point

    def rule(self, task: Task, hardware: Gpu) -> MmaPoint:
        """Large tiles if they leave every multiprocessor work, else small ones and parts."""
        n, h, w, _ = task.work.shape
        found = list(self.points(task, hardware))

        def blocks(p: MmaPoint) -> int:
            return ceil_div(n * h * w, p.pixels) * ceil_div(task.work.shape[3], p.channels)

        def rank(p: MmaPoint) -> tuple[float, ...]:
            filled = min(1.0, blocks(p) * p.warps / (8 * hardware.sms))
            # What a step loads for each product: activations by row, weights by column.
            loads = 1 / (p.columns * COLUMNS) + 1 / (p.rows * INSTRUCTIONS[p.form].rows)
            return (-filled, p.splits, p.rows > 2, loads, p.warps)

        return min(found, key=rank)

    def constants(
        self, task: Task, point: MmaPoint, weights: Sequence[np.ndarray]
    ) -> list[np.ndarray]:
        """Weights, then masks if groups are masked, as fragments; what the sum starts from."""
        shape = Shape(task, point)
        wide, real = expand(weights[0], task.work.groups, shape.grouping)
        ones = ((wide > 0) & real).sum(axis=-1, dtype=np.int64)
        taps = real.sum(axis=-1, dtype=np.int64)
        planes: list[np.ndarray]
        if point.form == "int8":
            planes = [np.where(real, np.where(wide > 0, 1, -1), 0).astype(np.int8)]
        else:
            planes = [wide > 0, *([real] if shape.masks else [])]
        outside = 2 * ones if point.form == "xor" else 0 * ones
        inside = taps if point.form == "xor" else taps - 2 * ones
        return [shape.fragments(planes), *Border(task.work).constants(inside, outside)]

    def function(self, task: Task, point: MmaPoint) -> tirx.PrimFunc:
        """The scheduled kernel."""
        shape = Shape(task, point)
        flat = Rows(task.work.shape, shape.rows)
        plain = stages(shape, flat)
        found = whole(plain, task.epilogue, task.tensors, point.channels)
        found = flat.outputs(found, int(plain.value.shape[3]))
        return flat.scatter(mma_schedule.blocks(found, point, shape.instruction))

    def counts(self, task: Task, point: MmaPoint, hardware: Gpu) -> GpuCounts:
        """Of a warp's tile; a lane's registers of the input and the weights are its loads."""
        shape, i = Shape(task, point), INSTRUCTIONS[point.form]
        n, h, w, _ = task.work.shape
        tiles, stored = shape.columns // COLUMNS, point.columns * (1 + shape.masks)
        inputs, weights, sums = i.registers
        registers = point.rows * inputs + stored * weights
        # Two registers at a time (pair_loads.py), but for bytes, which are made of bits.
        together = i.words // 4 if i.bits == WORD else 1
        loads = point.rows * inputs / together + stored
        pixels, channels = point.pixels, round_up(point.channels, WORD)
        threads = 32 * point.warps
        return GpuCounts(
            blocks=ceil_div(n * h * w, pixels) * (shape.channels // point.channels),
            threads=threads,
            is_mma=True,
            is_popc=False,
            multiply=point.rows * tiles,
            load=loads,
            load_bytes=4 * registers,
            steps=shape.steps,
            outputs=pixels * channels / threads,
            computed=shape.rows * shape.channels,
            registers=32 + point.rows * (tiles * sums + inputs) + tiles * weights,
            own_pixels=point.rows * i.rows,
            pixels=pixels,
            channels=point.channels,
            parts=point.splits,
            shared=4 * point.splits * pixels * point.across * shape.columns,
        )


def _per_output(task: Task) -> int:
    """Products of an output, without padding."""
    work = task.work
    return work.kernel[0] * work.kernel[1] * work.x.shape[3] // work.groups


def _possible(task: Task, point: MmaPoint) -> bool:
    g, shape = grouping(task.work), Shape(task, point)
    lone = g.merged == 1
    return (
        (lone or g.outputs % point.channels == 0)
        and point.warps * 32 <= _THREADS
        and point.pixels % point.warps == 0
        and 4 * point.splits * point.pixels * point.across * shape.columns <= _SHARED
        # Parts of one step at least, and no tile of channels that are all padding.
        and shape.all_steps >= point.splits
        and point.channels < 2 * max(WORD, round_up(g.outputs, WORD))
    )


class Shape:
    """A convolution as a product [pixels, k] x [channels, k], in whole tiles."""

    def __init__(self, task: Task, point: MmaPoint) -> None:
        work = task.work
        n, h, w, _ = work.shape
        self.task, self.point = task, point
        self.instruction: Instruction = INSTRUCTIONS[point.form]
        self.grouping = grouping(work)
        #: Pixels, in whole blocks.
        self.rows = round_up(n * h * w, point.pixels)
        #: Words of input bits of an output: all, and in a tap.
        self.in_tap = ceil_div(self.grouping.inputs, WORD)
        self.words = work.kernel[0] * work.kernel[1] * self.in_tap
        #: Registers of a word, steps of the instruction in all and of a part.
        self.per_word = WORD // self.instruction.bits
        self.all_steps = ceil_div(self.words * self.per_word, self.instruction.words)
        self.steps = ceil_div(self.all_steps, point.splits)
        #: Output channels in whole blocks, in tiles of a warp.
        self.channels = round_up(self.grouping.merged * self.grouping.outputs, point.channels)
        self.tiles = self.channels // (COLUMNS * point.columns)
        self.masks = self.grouping.masked and point.form == "and"

    @property
    def columns(self) -> int:
        """Of a warp's product: its channels, and what popc(a) comes from."""
        own = COLUMNS * self.point.columns
        if self.masks:
            return 2 * own
        return own + COLUMNS if self.point.form == "and" else own

    @property
    def depth(self) -> int:
        """Registers of a part's reduction."""
        return self.steps * self.instruction.words

    def place(self, k: tvm.ir.Expr) -> tvm.ir.Expr:
        """Which register of the input the instruction's k-th is: a lane has neighbours."""
        words = self.instruction.words
        return k // words * words + k % 4 * (words // 4) + k % words // 4

    def fragments(self, planes: Sequence[np.ndarray]) -> np.ndarray:
        """[O, KH, KW, C] each  ->  uint32 [tile, step, 8 columns, lane, register]."""
        i, splits = self.instruction, self.point.splits
        depth = self.depth * splits
        blocks = []
        for plane in planes:
            o, kh, kw, c = plane.shape
            padded = np.zeros((self.channels, kh, kw, self.in_tap * WORD), plane.dtype)
            padded[:o, ..., :c] = plane
            flat = padded.reshape(self.channels, -1)
            if plane.dtype == bool:
                flat = np.packbits(flat, axis=-1, bitorder="little").view(np.uint8)
            registers = np.ascontiguousarray(flat).view(np.uint32)
            whole = np.zeros((self.channels, depth), np.uint32)
            whole[:, : registers.shape[1]] = registers
            k = np.arange(depth)
            whole = whole[:, self.place(k)]
            # Channel 8 j + n, register 4 r + t of a step  ->  lane 4 n + t, register r.
            split = whole.reshape(self.tiles, self.point.columns, COLUMNS, -1, i.words // 4, 4)
            blocks.append(split.transpose(0, 3, 1, 2, 5, 4))
        joined = np.concatenate(blocks, axis=2)
        return np.ascontiguousarray(joined.reshape(*joined.shape[:3], 32, i.words // 4))


def stages(shape: Shape, flat: Rows) -> Stages:
    """The kernel's TE: fragments' elements, their product in parts, the exact sum, the epilogue."""
    work, g, i = shape.task.work, shape.grouping, shape.instruction
    point, own = shape.point, COLUMNS * shape.point.columns
    x = placeholder(work.x, "x")
    stored = point.columns * (2 if shape.masks else 1)
    w = te.placeholder(
        (shape.tiles, shape.steps * point.splits, stored, 32, i.words // 4), "uint32", name="w"
    )
    a, b = _signs(shape, flat, x), _weights(shape, w)
    rk = te.reduce_axis((0, shape.depth), "rk")

    def product(s, m, tile, c):  # type: ignore[no-untyped-def]
        group = tile * own // g.outputs if g.merged > 1 else 0
        k = s * shape.depth + rk
        return te.sum(i.multiply(a[group, m, k], b[tile, c, k]), axis=[rk])

    acc = te.compute((point.splits, shape.rows, shape.tiles, shape.columns), product, name="acc")
    more, base = Border(work).base(g.merged * g.outputs)

    def integer(n, y, m, c):  # type: ignore[no-untyped-def]
        image, row, column = flat.pixel(m)
        return _sum(shape, acc, m, c).astype("float32") + base(image, row, column, c)

    inputs = [x, w, *more]
    return finish(
        work.shape, integer, shape.task.epilogue, list(shape.task.tensors), inputs, acc, flat
    )


def _signs(shape: Shape, flat: Rows, x: te.Tensor) -> te.Tensor:
    """Registers of the input [merged group, pixel, k]; 0 where there is no tap."""
    work, i = shape.task.work, shape.instruction
    tap, every = work.tap(), shape.words * shape.per_word
    depth = shape.depth * shape.point.splits

    def signs(group, m, k):  # type: ignore[no-untyped-def]
        at = shape.place(k)
        word, part = at // shape.per_word, at % shape.per_word
        step = word // shape.in_tap
        ky, kx = step // work.kernel[1], step % work.kernel[1]
        image, y, z = flat.pixel(m)
        found = x[image, *tap(y, ky, z, kx), group * shape.in_tap + word % shape.in_tap]
        if i.bits < WORD:
            four = (found >> (part * i.bits).astype("uint32")) & tirx.const(15, "uint32")
            # Bit b of four becomes byte b.
            found = four * tirx.const(0x00204081, "uint32") & tirx.const(0x01010101, "uint32")
        if depth == every:
            return found
        inside, neighbours = at < every, i.words // 4
        if every % neighbours == 0:
            # The same for words that a lane loads together.
            inside = k // i.words * 4 + k % 4 < every // neighbours
        return tirx.if_then_else(inside, found, tirx.const(0, "uint32"))

    return te.compute((shape.grouping.merged, shape.rows, depth), signs, name="signs")


def _weights(shape: Shape, w: te.Tensor) -> te.Tensor:
    """Registers of the weights [tile, channel, k], and of ones for popc(a)."""
    words = shape.instruction.words
    stored = COLUMNS * int(w.shape[2])

    def weight(tile, c, k):  # type: ignore[no-untyped-def]
        lane = c % COLUMNS * 4 + k % 4
        found = w[tile, k // words, c // COLUMNS, lane, k % words // 4]
        if shape.columns == stored:
            return found
        return tirx.if_then_else(c < stored, found, tirx.const(0xFFFFFFFF, "uint32"))

    depth = shape.depth * shape.point.splits
    return te.compute((shape.tiles, shape.columns, depth), weight, name="weights")


def _sum(shape: Shape, acc: te.Tensor, m: tirx.Var, c: tirx.Var) -> tvm.ir.Expr:
    """What the products add to the sum's start, int32."""
    own = COLUMNS * shape.point.columns

    def total(column: tvm.ir.Expr) -> tvm.ir.Expr:
        found = acc[0, m, c // own, column]
        for s in range(1, shape.point.splits):
            found = found + acc[s, m, c // own, column]
        return found

    found = total(c % own)
    if shape.point.form == "and":
        return found * 4 - total(own + (c % own if shape.masks else c % COLUMNS)) * 2
    return found * (2 if shape.point.form == "int8" else -2)
