"""Convolution of bytes with 8-bit weights by products of tiles; otherwise as int8.py has it."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from tvm import te, tirx

from bnn_compiler.kernels.cpu import amx, channelwise, int8
from bnn_compiler.kernels.cpu.tiles import DEPTH
from bnn_compiler.kernels.epilogue import Value, fma
from bnn_compiler.kernels.family import Counts
from bnn_compiler.kernels.layout import LANES
from bnn_compiler.kernels.task import Task
from bnn_compiler.kernels.workload import ConvWorkload
from bnn_compiler.ops.rounding import round_up
from bnn_compiler.ops.storage import Storage
from bnn_compiler.target import Hardware


@dataclass(frozen=True)
class AmxInt8Point(amx.Tiles):
    """A schedule of bytes."""

    family = "amx_int8"


class AmxInt8:
    """The family."""

    name = AmxInt8Point.family
    point = AmxInt8Point

    def fits(self, task: Task, hardware: Hardware) -> bool:
        """Bytes of one group, whose channels are mixed."""
        work = task.work
        if work.x.storage is not Storage.BYTES or channelwise.mixes_no_channels(work):
            return False
        return amx.fits(work, hardware)

    def points(self, task: Task, hardware: Hardware) -> Iterator[AmxInt8Point]:
        """Every blocking of tiles."""
        return (AmxInt8Point(**asdict(p)) for p in amx.points(task.work))

    def rule(self, task: Task, hardware: Hardware) -> AmxInt8Point:
        """The one with the fewest loads."""
        return AmxInt8Point(**asdict(amx.rule(task.work)))

    def constants(
        self, task: Task, point: AmxInt8Point, weights: Sequence[np.ndarray]
    ) -> list[np.ndarray]:
        """Tiles of weights; scale [O]; the bias by border class; the classes.

        ``weights`` are int8 [O,KH,KW,C], the scale [O] and the bias [O,KH,KW].
        """
        taps, scale, bias = weights
        lanes = round_up(len(taps), LANES)
        return [amx.pack(task.work, taps), *int8.vectors(task.work, lanes, scale, bias)]

    def function(self, task: Task, point: AmxInt8Point) -> tirx.PrimFunc:
        """The scheduled kernel: a copy of a block, then tiles and their epilogues."""
        work = task.work
        x, copied = _copy(work, point)
        vectors = int8.placeholders(work, round_up(work.shape[3], LANES))
        scale, base, row, column = vectors

        def scaled(acc: te.Tensor) -> Value:
            def value(i, y, z, c):  # type: ignore[no-untyped-def]
                exact = acc[i, y, z, c // LANES, c % LANES].astype("float32")
                return fma(exact, scale[c], base[row[y], column[z], c])

            return value

        return amx.function(task, point, [x, amx.weights(work), *vectors], copied, scaled)

    def counts(self, task: Task, point: AmxInt8Point, hardware: Hardware) -> Counts:
        """As of all products of tiles."""
        return amx.counts(task.work, point)


def _copy(work: ConvWorkload, point: AmxInt8Point) -> tuple[te.Tensor, te.Tensor]:
    """The image, and its bytes for whole tiles.

    Beyond the end of a row or of the image they are any: there weights are 0, or nobody reads.
    """
    n, stored, columns, channels = work.x.physical
    length = columns * channels
    x = te.placeholder((n, stored, length), "uint8", name="x")
    row, column = work.tap()(0, 0, 0, 0)
    whole = (length - column * channels) // DEPTH

    def byte(i, y, at, lane):  # type: ignore[no-untyped-def]
        y, z = y + row, column * channels + at * DEPTH + lane
        last = x[i, tirx.min(y, stored - 1), tirx.min(z, length - 1)]
        return tirx.if_then_else(tirx.all(y < stored, at < whole), x[i, y, z], last)

    rows = amx.rows_of(work, round_up(work.shape[1], point.height))
    return x, te.compute((n, rows, amx.width(work, point) // DEPTH, DEPTH), byte, name="bytes")
