"""Binary convolution by products of tiles: signs as bytes -1 and +1, and 0 for zero padding.

So the integer is the sum itself. Bits become bytes on the way to the stack, by a blend of vectors.
Weights are bytes in memory, or bits that become bytes a step at a time: an eighth to read, where
bytes would have to come from beyond L2.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import tvm
from tvm import te, tirx

from bnn_compiler.kernels.cpu import amx
from bnn_compiler.kernels.cpu.tiles import DEPTH
from bnn_compiler.kernels.epilogue import Value
from bnn_compiler.kernels.family import Counts
from bnn_compiler.kernels.layout import LANES
from bnn_compiler.kernels.task import Task
from bnn_compiler.kernels.workload import ConvWorkload
from bnn_compiler.ops.rounding import round_up
from bnn_compiler.target import Hardware


@dataclass(frozen=True)
class AmxPoint(amx.Tiles):
    """A schedule of signs; with ``expand`` weights are bits in memory, where every bit is a tap."""

    family = "amx"
    expand: bool = False


class AmxBinary:
    """The family."""

    name = AmxPoint.family
    point = AmxPoint

    def fits(self, task: Task, hardware: Hardware) -> bool:
        """Signs of one group."""
        return task.work.is_binary and amx.fits(task.work, hardware)

    def points(self, task: Task, hardware: Hardware) -> Iterator[AmxPoint]:
        """Every blocking of tiles; weights as bits where runs of taps fill theirs."""
        forms = (False, True) if _fills(task.work) else (False,)
        for point in amx.points(task.work):
            yield from (AmxPoint(**asdict(point), expand=expand) for expand in forms)

    def rule(self, task: Task, hardware: Hardware) -> AmxPoint:
        """The one with the fewest loads; as bits, weights whose bytes L2 would not hold."""
        work = task.work
        size = math.prod(amx.weights(work).shape)
        expand = _fills(work) and int(size) > hardware.l2_kib << 10
        return AmxPoint(**asdict(amx.rule(work)), expand=expand)

    def constants(
        self, task: Task, point: AmxPoint, weights: Sequence[np.ndarray]
    ) -> list[np.ndarray]:
        """Tiles of bytes, or of their signs, from int8 weights [O,KH,KW,C] of -1/+1."""
        tiles = amx.pack(task.work, weights[0])
        if not _expands(task.work, point):
            return [tiles]
        return [np.packbits(tiles > 0, axis=-1, bitorder="little").view(np.uint64)[..., 0]]

    def function(self, task: Task, point: AmxPoint) -> tirx.PrimFunc:
        """The scheduled kernel: bytes of a block, then tiles and their epilogues."""
        x, copied = _signs(task.work, point)
        if not _expands(task.work, point):
            return amx.function(task, point, [x, amx.weights(task.work)], copied, _integer)
        bits, taps = _taps(task.work)
        return amx.function(task, point, [x, bits], copied, _integer, taps)

    def counts(self, task: Task, point: AmxPoint, hardware: Hardware) -> Counts:
        """As of all products of tiles."""
        return amx.counts(task.work, point, DEPTH // 8 if _expands(task.work, point) else DEPTH)


def _fills(work: ConvWorkload) -> bool:
    """Whether runs of taps are whole rows of tiles: of a task as of what records know it by."""
    return amx.Reduction.of(work).length % DEPTH == 0


def _expands(work: ConvWorkload, point: AmxPoint) -> bool:
    """Whether weights are bits: there is one for every byte of every tile, for none can be 0."""
    real = work.x.shape[3] == amx.channels(work) and work.shape[3] % LANES == 0
    return point.expand and real and _fills(work)


def _taps(work: ConvWorkload) -> tuple[te.Tensor, te.Tensor]:
    """Signs of tiles of weights, and their bytes."""
    shape = amx.weights(work).shape
    w = te.placeholder(shape[:-1], "uint64", name="w")

    def tap(b, ry, rx, rs, rk, bit):  # type: ignore[no-untyped-def]
        return _sign(w[b, ry, rx, rs, rk], bit, "uint64")

    return w, te.compute(shape, tap, name="taps")


def _sign(word: tvm.ir.Expr, bit: tvm.ir.Expr, dtype: str) -> tvm.ir.Expr:
    """-1 or +1 by a bit of a word of ``dtype`` (ExpandBits)."""
    one = tirx.shift_right(word, bit.astype(dtype)) & tirx.const(1, dtype)
    return one.astype("int8") * tirx.const(2, "int8") - tirx.const(1, "int8")


def _integer(acc: te.Tensor) -> Value:
    return lambda i, y, z, c: acc[i, y, z, c // LANES, c % LANES].astype("float32")


def _signs(work: ConvWorkload, point: AmxPoint) -> tuple[te.Tensor, te.Tensor]:
    """The image, and its bytes for whole tiles."""
    word = 64 if work.x.channels % 2 == 0 else 32
    dtype, stored = f"uint{word}", work.x.physical
    words = stored[3] * 32 // word
    x = te.placeholder((*stored[:3], words), dtype, name="x")
    row, column = work.tap()(0, 0, 0, 0)
    # With a pad value the halo holds bits like others.
    top, left = (0, 0) if work.pad_value else work.x.halo[:2]
    high, wide = stored[1:3] if work.pad_value else work.x.shape[1:3]

    def sign(i, y, at, bit):  # type: ignore[no-untyped-def]
        y, z = y + row, at // words + column
        signed = _sign(x[i, y, z, at % words], bit, dtype)
        inside = tirx.all(y >= top, y < top + high, z >= left, z < left + wide)
        return tirx.if_then_else(inside, signed, tirx.const(0, "int8"))

    rows = amx.rows_of(work, round_up(work.shape[1], point.height))
    shape = (work.shape[0], rows, amx.width(work, point) // word, word)
    return x, te.compute(shape, sign, name="signs")
