"""Binary convolution by products of tiles: signs as bytes -1 and +1, and 0 for zero padding.

So the integer is the sum itself. Bits become bytes on the way to the stack, by a blend of vectors.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from tvm import te, tirx

from bnn_compiler.kernels.cpu import amx
from bnn_compiler.kernels.epilogue import Value
from bnn_compiler.kernels.family import Counts
from bnn_compiler.kernels.layout import LANES
from bnn_compiler.kernels.task import Task
from bnn_compiler.kernels.workload import ConvWorkload
from bnn_compiler.ops.rounding import round_up
from bnn_compiler.target import Hardware


@dataclass(frozen=True)
class AmxPoint(amx.Tiles):
    """A schedule of signs."""

    family = "amx"


class AmxBinary:
    """The family."""

    name = AmxPoint.family
    point = AmxPoint

    def fits(self, task: Task, hardware: Hardware) -> bool:
        """Signs of one group."""
        return task.work.is_binary and amx.fits(task.work, hardware)

    def points(self, task: Task, hardware: Hardware) -> Iterator[AmxPoint]:
        """Every blocking of tiles."""
        return (AmxPoint(**asdict(p)) for p in amx.points(task.work))

    def rule(self, task: Task, hardware: Hardware) -> AmxPoint:
        """The one with the fewest loads."""
        return AmxPoint(**asdict(amx.rule(task.work)))

    def constants(
        self, task: Task, point: AmxPoint, weights: Sequence[np.ndarray]
    ) -> list[np.ndarray]:
        """Tiles of bytes from int8 weights [O,KH,KW,C] of -1/+1."""
        return [amx.pack(task.work, weights[0])]

    def function(self, task: Task, point: AmxPoint) -> tirx.PrimFunc:
        """The scheduled kernel: bytes of a block, then tiles and their epilogues."""
        x, copied = _signs(task.work, point)
        return amx.function(task, point, [x, amx.weights(task.work)], copied, _integer)

    def counts(self, task: Task, point: AmxPoint, hardware: Hardware) -> Counts:
        """As of all products of tiles."""
        return amx.counts(task.work, point)


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
        one = tirx.shift_right(x[i, y, z, at % words], bit.astype(dtype)) & tirx.const(1, dtype)
        signed = one.astype("int8") * tirx.const(2, "int8") - tirx.const(1, "int8")
        inside = tirx.all(y >= top, y < top + high, z >= left, z < left + wide)
        return tirx.if_then_else(inside, signed, tirx.const(0, "int8"))

    rows = amx.rows_of(work, round_up(work.shape[1], point.height))
    shape = (work.shape[0], rows, amx.width(work, point) // word, word)
    return x, te.compute(shape, sign, name="signs")
