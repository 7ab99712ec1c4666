"""A binary convolution as tiles of a product on tensor cores, and the schedules of it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import tvm

from bnn_compiler.kernels.cpu.popcount import grouping
from bnn_compiler.kernels.cuda.instruction import COLUMNS, INSTRUCTIONS, Instruction
from bnn_compiler.kernels.cuda.words import WORD
from bnn_compiler.kernels.point import Point
from bnn_compiler.kernels.task import Task
from bnn_compiler.ops.rounding import ceil_div, round_up


@dataclass(frozen=True)
class MmaPoint(Point):
    """A warp has ``rows`` x ``columns`` tiles of the instruction ``form``.

    A block has ``down`` x ``across`` such warps, each reducing a part of ``splits`` alone. With
    ``stages`` its operands come through shared memory, so many steps of the instruction at a time.
    """

    family = "mma"
    form: str
    rows: int
    columns: int
    down: int = 1
    across: int = 1
    splits: int = 1
    stages: int = 0

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
        #: Words of a step: of a pixel, and of 8 channels.
        self.words_of_step = self.instruction.words // self.per_word
        self.weight_words = COLUMNS * self.instruction.words
        #: Words of the input that lie side by side whatever the step.
        self.together = math.gcd(self.words_of_step, self.in_tap, 4)
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
        return self.instruction.neighbours(k)

    def fragments(self, planes: Sequence[np.ndarray]) -> np.ndarray:
        """[O, KH, KW, C] each  ->  uint32 [tile, step, 8 columns, lane, register]."""
        depth, blocks = self.depth * self.point.splits, []
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
            whole = whole[:, self.place(np.arange(depth))]
            blocks.append(self.instruction.fragments(whole, self.tiles))
        return np.concatenate(blocks, axis=2)

    @property
    def sums_bytes(self) -> int:
        """Of a block's sums in shared memory."""
        point = self.point
        return 4 * point.splits * point.pixels * point.across * self.columns

    @property
    def staged_bytes(self) -> int:
        """Of a block's operands there."""
        point, stored = self.point, self.point.columns * (1 + self.masks)
        step = point.pixels * self.words_of_step + point.across * stored * self.weight_words
        return 4 * point.stages * step
