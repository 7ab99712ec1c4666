"""What every family of kernels offers: a way to compute a convolution, with all its schedules."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np
from tvm import tirx

from bnn_compiler.kernels.gpu_counts import GpuCounts
from bnn_compiler.kernels.grouping import Grouping
from bnn_compiler.kernels.layout import LANES
from bnn_compiler.kernels.point import Point
from bnn_compiler.kernels.task import Task

P = TypeVar("P", bound=Point)
#: The hardware it is for: target.Hardware or target.Gpu.
H = TypeVar("H", contravariant=True)


class Family(Protocol[P, H]):
    """One way to compute a convolution; ``point`` is the class of its schedules."""

    @property
    def name(self) -> str:
        """As in records and reports."""
        ...

    @property
    def point(self) -> type[P]:
        """The class of its schedules; their ``family`` is ``name``."""
        ...

    def fits(self, task: Task, hardware: H) -> bool:
        """Whether it computes ``task``, and is meant for it on such a machine."""
        ...

    def points(self, task: Task, hardware: H) -> Iterator[P]:
        """Every schedule of a task that fits: at least one."""
        ...

    def rule(self, task: Task, hardware: H) -> P:
        """The one of them to use when nothing is known."""
        ...

    def constants(self, task: Task, point: P, weights: Sequence[np.ndarray]) -> list[np.ndarray]:
        """The parameters between the input and the epilogue's operands.

        ``weights`` are the anchor's: [O, KH, KW, C/groups], of bytes also scale and bias
        (ops/relax_ops.py).
        """
        ...

    def function(self, task: Task, point: P) -> tirx.PrimFunc:
        """The scheduled kernel: input, constants, operands, outputs."""
        ...

    def counts(self, task: Task, point: P, hardware: H) -> "Counts | GpuCounts":
        """What the kernel does, for the cost model."""
        ...


@dataclass(frozen=True)
class Mix:
    """Instructions of one step of the reduction for one tile; ``vector`` is all that compute."""

    vector: float
    loads: float
    xor: float = 0
    popcount: float = 0
    lookup: float = 0
    add: float = 0
    fma: float = 0
    scalar: float = 0


@dataclass(frozen=True)
class Counts:
    """A kernel as tiles of ``rows`` x ``pixels`` x ``vectors`` (of 16 outputs), each reduced alone.

    ``accumulators`` and ``weights`` are vector registers. Of the reduction's ``steps``, ``body``
    are unrolled in the innermost loop, whose trip count is ``inner``. ``word`` is the width in bits
    of what a step reads, ``word_bytes`` the weights of a step for one output, ``word_waste`` the
    stored channels over the real ones. ``order`` is the loop around the tiles: "channels", "rows"
    or "strips" (kernels/cpu/tile.py); ``unroll`` how much is unrolled, in the family's own terms.
    """

    grouping: Grouping
    pixels: int
    vectors: int
    accumulators: float
    weights: float
    mix: Mix
    steps: int
    inner: float
    body: int
    word: int
    word_bytes: float
    word_waste: float = 1.0
    rows: int = 1
    order: str = "channels"
    unroll: int = 0

    @property
    def lanes(self) -> int:
        """Output channels of a tile."""
        return self.vectors * LANES

    @property
    def outputs(self) -> int:
        """Output channels computed, padded ones counted."""
        return self.grouping.merged * self.grouping.outputs
