"""What is known of a value, per channel, and of channels that are moved (passes/atoms.py)."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from tvm import relax

from bnn_compiler.passes.lattice import (
    Lattice,
    Mask,
    Vector,
    lattice_union,
    listed,
    parts_of,
    side_by_side,
)

#: Channels of so many different scales add up to anything.
_VARIED = 8


@dataclass(frozen=True)
class Fact:
    """What is known of a value, per channel [C].

    ``low`` and ``high`` bound it. ``points`` are the numbers it takes often, None if they are
    unknown; ``only`` if it takes no others. ``discrete`` if it takes finitely many: a float sum
    of signs does, each by accident, so it has no points. ``roots`` are the convolutions and
    inputs it is made of, element by element; whatever the others are, the value is continuous
    in each of ``free``. ``varied``, of a fact of many channels together: whether theirs have
    scales of their own.
    """

    low: Vector
    high: Vector
    points: Lattice | None
    discrete: bool
    roots: frozenset[relax.Var]
    varied: bool = False
    free: frozenset[relax.Var] = frozenset()
    only: bool = False

    def free_beside(self, other: "Fact") -> frozenset[relax.Var]:
        """What of ``free`` has nothing to do with ``other``."""
        return self.free - other.roots

    @property
    def atoms(self) -> tuple[Vector, ...] | None:
        """The points one by one, NaN where a channel lacks one; None if they are not listed."""
        return None if self.points is None or self.points.scales else self.points.biases

    def nonnegative(self) -> bool:
        """Whether no channel is ever below 0."""
        return bool(np.all(self.low >= 0))

    def nonpositive(self) -> bool:
        """Whether no channel is ever above 0."""
        return bool(np.all(self.high <= 0))

    def taken(self, index: NDArray[np.int64]) -> "Fact":
        """Of the channels ``index``."""
        return replace(
            self,
            low=self.low[index],
            high=self.high[index],
            points=None if self.points is None else self.points.taken(index),
        )

    def wide(self, channels: int) -> "Fact":
        """Of one channel, repeated; of as many as ``channels``, the same."""
        if self.low.size == channels:
            return self
        return self.taken(np.zeros(channels, np.int64))

    def whole(self) -> "Fact":
        """Of all channels together: one channel."""
        points = None
        if self.atoms is not None:
            numbers = {float(v) for a in self.atoms for v in a if not np.isnan(v)}
            points = listed([np.full(1, v) for v in sorted(numbers)])
        scales = self.points.scales if self.points is not None else ()
        varied = self.varied or any(map(_are_varied, scales))
        low, high = np.full(1, self.low.min()), np.full(1, self.high.max())
        return replace(self, low=low, high=high, points=points, varied=varied)

    def framed(self, fill: float) -> "Fact":
        """Of an image with a border of ``fill``."""
        edge = np.full(self.low.size, fill)
        return replace(
            self,
            low=np.minimum(self.low, fill),
            high=np.maximum(self.high, fill),
            points=lattice_union([self.points, listed([edge])]),
            free=frozenset(),
        )


class Known(Protocol):
    """What Atoms tell the rules of an operator."""

    def fact(self, expr: relax.Expr) -> Fact:
        """What is known of an expression."""

    def may_equal(self, expr: relax.Expr, number: Vector) -> Mask:
        """Per channel, whether it is the number more often than by accident."""


def _are_varied(scales: Vector) -> bool:
    """Whether so many of them have no common unit."""
    sizes = np.unique(np.abs(scales[scales != 0]))
    return sizes.size >= _VARIED and int((parts_of(sizes, sizes[:1])[0] == 0).sum()) >= _VARIED - 1


def joined(facts: Sequence[Fact]) -> Fact:
    """Of their channels one after the other."""
    return Fact(
        np.concatenate([f.low for f in facts]),
        np.concatenate([f.high for f in facts]),
        side_by_side([f.points for f in facts], [f.low.size for f in facts]),
        all(f.discrete for f in facts),
        frozenset().union(*(f.roots for f in facts)),
        free=frozenset.intersection(*(f.free for f in facts)),
        only=all(f.only for f in facts),
    )


def constant(channels: int, number: float) -> Fact:
    """Of channels that are all ``number``."""
    full = np.full(channels, number)
    return Fact(full, full, listed([full]), True, frozenset(), only=True)
