"""Binary convolution on tensor cores: a product of pixels by channels, exact for every form.

With bits a of the input and w of the weights, the sum of products of signs is

    and     taps - 2 popc(w) + 4 popc(a & w) - 2 popc(a)
    xor     taps - 2 popc(a ^ w)
    int8    taps - 2 popc(w) + 2 sum(a * sign(w))

popc(a) comes from one more tile of weights, all ones; of masked groups, from a tile of masks for
each tile of weights. Taps in zero padding are bits 0: in the first and last form they add nothing.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import tvm
from tvm import te, tirx

from bnn_compiler.kernels.cpu.popcount import grouping
from bnn_compiler.kernels.cuda import mma_schedule
from bnn_compiler.kernels.cuda.border import Border
from bnn_compiler.kernels.cuda.instruction import COLUMNS, INSTRUCTIONS
from bnn_compiler.kernels.cuda.mma_shape import MmaPoint, Shape
from bnn_compiler.kernels.cuda.rows import Rows
from bnn_compiler.kernels.cuda.words import WORD, whole
from bnn_compiler.kernels.epilogue import Stages, finish, placeholder
from bnn_compiler.kernels.gpu_counts import GpuCounts
from bnn_compiler.kernels.grouping import expand
from bnn_compiler.kernels.task import Task
from bnn_compiler.ops.rounding import ceil_div, round_up
from bnn_compiler.target import Gpu

#: Static shared memory of a block, and its threads, at most.
_SHARED, _THREADS = 48 * 1024, 512
#: Steps of a sum from which on its operands come through shared memory.
_LONG = 16
#: Shared memory of a multiprocessor that no block gets, KiB.
_RESERVED = 1
#: Warps of a block whose operands come through shared memory: (down, across); and its stages.
_STAGED, _STAGES = ((2, 1), (1, 2), (2, 2), (4, 2), (2, 4)), (2, 3, 4)


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
        yield from self._staged(task, hardware)

    def _staged(self, task: Task, hardware: Gpu) -> Iterator[MmaPoint]:
        """Those whose operands come through shared memory: from sm_80 on, and for long sums."""
        for rows in (2, 4):
            for columns in (4, 8):
                for down, across in _STAGED:
                    for stages in _STAGES:
                        point = MmaPoint(hardware.binary, rows, columns, down, across, 1, stages)
                        if _possible(task, point) and _stageable(task, point, hardware):
                            yield point

    def rule(self, task: Task, hardware: Gpu) -> MmaPoint:
        """Large tiles if they leave every multiprocessor work, else small ones and parts.

        Long sums in many blocks share what they load: L2 would not keep up.
        """
        n, h, w, _ = task.work.shape
        direct = [p for p in self.points(task, hardware) if not p.stages]

        def blocks(p: MmaPoint) -> int:
            return ceil_div(n * h * w, p.pixels) * ceil_div(task.work.shape[3], p.channels)

        def shared(p: MmaPoint) -> tuple[float, ...]:
            return (1 / p.pixels + 1 / p.channels, -p.rows * p.columns, abs(p.stages - 3))

        staged = [p for p in self._staged(task, hardware) if blocks(p) >= 2 * hardware.sms]
        if staged and Shape(task, staged[0]).steps >= _LONG:
            return min(staged, key=shared)

        def rank(p: MmaPoint) -> tuple[float, ...]:
            filled = min(1.0, blocks(p) * p.warps / (8 * hardware.sms))
            # What a step loads for each product: activations by row, weights by column.
            loads = 1 / (p.columns * COLUMNS) + 1 / (p.rows * INSTRUCTIONS[p.form].rows)
            return (-filled, p.splits, p.rows > 2, loads, p.warps)

        return min(direct, key=rank)

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
        return flat.scatter(mma_schedule.blocks(found, point, shape.instruction, shape.together))

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
        load_bytes = 4.0 * registers
        if point.stages:
            load_bytes = shape.staged_bytes / point.stages / threads
        return GpuCounts(
            blocks=ceil_div(n * h * w, pixels) * (shape.channels // point.channels),
            threads=threads,
            is_mma=True,
            is_popc=False,
            multiply=point.rows * tiles,
            load=loads,
            load_bytes=load_bytes,
            ahead=max(0, point.stages - 1),
            steps=shape.steps,
            outputs=pixels * channels / threads,
            computed=shape.rows * shape.channels,
            registers=32 + point.rows * (tiles * sums + inputs) + tiles * weights,
            own_pixels=point.rows * i.rows,
            pixels=pixels,
            channels=point.channels,
            parts=point.splits,
            shared=max(shape.sums_bytes, shape.staged_bytes),
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
        and (point.stages > 0 or shape.sums_bytes <= _SHARED)
        # Parts of one step at least, and no tile of channels that are all padding.
        and shape.all_steps >= point.splits
        and point.channels < 2 * max(WORD, round_up(g.outputs, WORD))
    )


def _stageable(task: Task, point: MmaPoint, hardware: Gpu) -> bool:
    shape = Shape(task, point)
    most = 1024 * (hardware.shared_kib - _RESERVED)
    return (
        point.form != "xor"
        and shape.steps > point.stages
        # The sums take the operands' place.
        and max(shape.sums_bytes, shape.staged_bytes) <= most
    )


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
    i, per_step = shape.instruction, shape.words_of_step
    every = shape.words * shape.per_word
    depth = shape.depth * shape.point.splits
    stored = _stored(shape, flat, x)

    def signs(group, m, k):  # type: ignore[no-untyped-def]
        at = shape.place(k)
        word, part = at // shape.per_word, at % shape.per_word
        found = stored[group, m, k // i.words, word % per_step]
        if i.bits < WORD:
            four = (found >> (part * i.bits).astype("uint32")) & tirx.const(15, "uint32")
            # Bit b of four becomes byte b.
            found = four * tirx.const(0x00204081, "uint32") & tirx.const(0x01010101, "uint32")
        if depth == every or shape.point.stages:
            return found
        inside, neighbours = at < every, i.words // 4
        if every % neighbours == 0:
            # The same for words that a lane loads together.
            inside = k // i.words * 4 + k % 4 < every // neighbours
        return tirx.if_then_else(inside, found, tirx.const(0, "uint32"))

    return te.compute((shape.grouping.merged, shape.rows, depth), signs, name="signs")


def _stored(shape: Shape, flat: Rows, x: te.Tensor) -> te.Tensor:
    """The input's words [merged group, pixel, step, word of a step]; staged, 0 where is no tap."""
    work, per_step = shape.task.work, shape.words_of_step
    tap, steps = work.tap(), shape.steps * shape.point.splits

    def stored(group, m, s, w):  # type: ignore[no-untyped-def]
        word = s * per_step + w
        step = word // shape.in_tap
        ky, kx = step // work.kernel[1], step % work.kernel[1]
        image, y, z = flat.pixel(m)
        found = x[image, *tap(y, ky, z, kx), group * shape.in_tap + word % shape.in_tap]
        if not shape.point.stages or steps * per_step == shape.words:
            return found
        n = shape.together
        # The same for words that are copied together.
        inside = s * (per_step // n) + w // n < shape.words // n
        return tirx.if_then_else(inside, found, tirx.const(0, "uint32"))

    extents = (shape.grouping.merged, shape.rows, steps, per_step)
    return te.compute(extents, stored, name="stored")


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
