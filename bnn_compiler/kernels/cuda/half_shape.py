"""A float convolution as a product of halves [pixels, k] x [channels, k], in whole tiles."""

from dataclasses import dataclass

import numpy as np
import tvm

from bnn_compiler.kernels.cuda.instruction import COLUMNS, HALVES
from bnn_compiler.kernels.cuda.rows import Rows
from bnn_compiler.kernels.cuda.tiles import Tiles
from bnn_compiler.kernels.point import Point
from bnn_compiler.kernels.task import Task
from bnn_compiler.kernels.workload import HalfWorkload
from bnn_compiler.ops.rounding import ceil_div, round_up

#: Words between the sums of two pixels in shared memory, so that lanes use different banks.
PADDING = 8


@dataclass(frozen=True)
class HalfPoint(Point):
    """A block has ``height`` x ``width`` outputs, or if ``height`` is 0 ``width`` anywhere.

    ``down`` x ``across`` of its warps have ``columns`` tiles of 8 channels each, and all rows
    between them; each reduces a part of ``splits`` alone. ``form`` is the instruction's.
    """

    family = "half"
    form: str
    height: int
    width: int
    columns: int
    down: int = 1
    across: int = 1
    splits: int = 1

    @property
    def tile(self) -> str:
        """Pixels x channels of a block."""
        return f"{self.outputs}x{self.channels}"

    @property
    def outputs(self) -> int:
        """Pixels of a block that are stored."""
        return max(1, self.height) * self.width

    @property
    def channels(self) -> int:
        """Of a block."""
        return COLUMNS * self.columns * self.across

    @property
    def warps(self) -> int:
        """Of a block."""
        return self.down * self.across * self.splits


class Shape:
    """``k`` counts words of two halves: two columns if the image is ``staged``, else channels."""

    def __init__(self, task: Task, point: HalfPoint) -> None:
        assert isinstance(task.work, HalfWorkload)
        self.task, self.point, self.work = task, point, task.work
        self.instruction = HALVES[point.form]
        work, i = self.work, self.instruction
        (kh, kw), channels = work.kernel, work.x.shape[3]
        self.staged = point.height > 0
        self.flat: Rows
        if self.staged:
            self.flat = Tiles.of(work.shape, point.height, point.width)
            #: Pixels in front of the pool that a block's outputs need.
            self.convolved = tuple(
                (size - 1) * stride + kernel
                for size, stride, kernel in zip(
                    (point.height, point.width),
                    work.pooled.strides,
                    work.pooled.kernel,
                    strict=True,
                )
            )
            #: Words of a kernel row: a power of two, so that a lane's have constant offsets.
            self.in_tap = 1 << (ceil_div(kw, 2) - 1).bit_length()
            self.words = channels * kh * self.in_tap
        else:
            n, h, w, _ = work.shape
            self.flat = Rows(work.shape, round_up(n * h * w, point.width))
            self.convolved = (1, point.width)
            self.in_tap = ceil_div(channels, 2)
            self.words = kh * kw * self.in_tap
        self.pixels = self.convolved[0] * self.convolved[1]
        #: Of a block's product.
        self.rows = round_up(self.pixels, i.rows * point.down)
        self.blocks = self.flat.count // point.outputs
        self.all_steps = ceil_div(self.words, i.words)
        self.steps = ceil_div(self.all_steps, point.splits)
        self.channels = round_up(work.shape[3], point.channels)
        self.tiles = self.channels // self.columns

    @property
    def columns(self) -> int:
        """Channels of a warp."""
        return COLUMNS * self.point.columns

    @property
    def depth(self) -> int:
        """Words of a part's reduction."""
        return self.steps * self.instruction.words

    @property
    def threads(self) -> int:
        """Of a block."""
        return 32 * self.point.warps

    @property
    def overlaps(self) -> bool:
        """Whether a staged word begins at every column: pairs do not all begin at even ones."""
        return self.work.strides[1] % 2 == 1 or self.work.dilation[1] > 1

    @property
    def step(self) -> tuple[int, int]:
        """Staged words from a pixel to the next one of its row, and from a pair of taps to one."""
        stride, dilation = self.work.strides[1], self.work.dilation[1]
        return (stride, 2 * dilation) if self.overlaps else (stride // 2, 1)

    @property
    def patch(self) -> tuple[int, int]:
        """Rows, and words of a row, that a block stages of each channel: each thread as many."""
        (cy, cx), (across, pair) = self.convolved, self.step
        height = (cy - 1) * self.work.strides[0] + (self.work.kernel[0] - 1) * self.work.dilation[0]
        width = (cx - 1) * across + (self.in_tap - 1) * pair
        # A power of two, so that a thread's words have one column.
        filled = 1 << width.bit_length()
        if filled > self.threads:
            return height + 1, round_up(width + 1, self.threads)
        return round_up(height + 1, self.threads // filled), filled

    @property
    def staged_words(self) -> int:
        """Of all channels."""
        height, width = self.patch
        return self.work.x.shape[3] * height * width

    @property
    def shared(self) -> int:
        """Bytes of a block."""
        sums = self.point.splits * self.rows * (self.point.channels + PADDING)
        return 4 * (sums + (self.staged_words if self.staged else 0))

    def place(self, k: tvm.ir.Expr) -> tvm.ir.Expr:
        """Which word of the input the instruction's k-th is: a lane has neighbouring channels."""
        if self.staged:
            return k
        return self.instruction.neighbours(k)

    def fragments(self, w: np.ndarray) -> np.ndarray:
        """float16 [O, KH, KW, C]  ->  uint32 [tile, step, 8 columns, lane, register]."""
        depth = self.depth * self.point.splits
        o, kh, kw, c = w.shape
        if self.staged:
            taps = np.zeros((o, c, kh, 2 * self.in_tap), np.float16)
            taps[..., :kw] = w.transpose(0, 3, 1, 2)
        else:
            taps = np.zeros((o, kh, kw, 2 * self.in_tap), np.float16)
            taps[..., :c] = w
        words = taps.reshape(o, -1).view(np.uint32)
        whole = np.zeros((self.channels, depth), np.uint32)
        whole[:o, : words.shape[1]] = words
        whole = whole[:, self.place(np.arange(depth))]
        return self.instruction.fragments(whole, self.tiles)
