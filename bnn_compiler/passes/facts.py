"""What is known of a value, per channel, and of channels that are moved (passes/atoms.py)."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from tvm import relax

from bnn_compiler.passes.lattice import Lattice, Vector

#: More atoms than this are not listed one by one.
MOST_ATOMS = 24


@dataclass(frozen=True)
class Fact:
    """What is known of a value, per channel [C].

    ``low`` and ``high`` bound it. ``atoms`` are the numbers it takes often, NaN where a channel
    lacks one; None if they are too many to list, then ``lattice`` may hold them. ``discrete``
    if it takes no other numbers. ``roots`` are the convolutions and inputs it is made of, element
    by element.
    """

    low: Vector
    high: Vector
    atoms: tuple[Vector, ...] | None
    discrete: bool
    roots: frozenset[relax.Var]
    lattice: Lattice | None = None

    def nonnegative(self) -> bool:
        """Whether no channel is ever below 0."""
        return bool(np.all(self.low >= 0))

    def nonpositive(self) -> bool:
        """Whether no channel is ever above 0."""
        return bool(np.all(self.high <= 0))

    def taken(self, index: NDArray[np.int64]) -> "Fact":
        """Of the channels ``index``."""
        lattice = self.lattice
        if lattice is not None:
            scales = tuple(s[index] for s in lattice.scales)
            lattice = replace(lattice, scales=scales, bias=lattice.bias[index])
        return replace(
            self,
            low=self.low[index],
            high=self.high[index],
            atoms=None if self.atoms is None else distinct([a[index] for a in self.atoms]),
            lattice=lattice,
        )

    def wide(self, channels: int) -> "Fact":
        """Of one channel, repeated; of as many as ``channels``, the same."""
        if self.low.size == channels:
            return self
        return self.taken(np.zeros(channels, np.int64))

    def whole(self) -> "Fact":
        """Of all channels together: one channel."""
        atoms = None
        if self.atoms is not None:
            numbers = {float(v) for a in self.atoms for v in a if not np.isnan(v)}
            atoms = distinct([np.full(1, v) for v in sorted(numbers)])
        low, high = np.full(1, self.low.min()), np.full(1, self.high.max())
        return replace(self, low=low, high=high, atoms=atoms, lattice=None)

    def framed(self, fill: float) -> "Fact":
        """Of an image with a border of ``fill``."""
        edge = np.full(self.low.size, fill)
        return replace(
            self,
            low=np.minimum(self.low, fill),
            high=np.maximum(self.high, fill),
            atoms=None if self.atoms is None else distinct([*self.atoms, edge]),
            lattice=None,
        )


def joined(facts: Sequence[Fact]) -> Fact:
    """Of their channels one after the other."""
    atoms = None
    if all(f.atoms is not None for f in facts):
        starts = np.cumsum([0, *(f.low.size for f in facts)])
        found = []
        for fact, start in zip(facts, starts, strict=False):
            for atom in fact.atoms or ():
                full = np.full(starts[-1], np.nan)
                full[start : start + atom.size] = atom
                found.append(full)
        atoms = distinct(found)
    return Fact(
        np.concatenate([f.low for f in facts]),
        np.concatenate([f.high for f in facts]),
        atoms,
        all(f.discrete for f in facts),
        frozenset().union(*(f.roots for f in facts)),
    )


def constant(channels: int, number: float) -> Fact:
    """Of channels that are all ``number``."""
    full = np.full(channels, number)
    return Fact(full, full, (full,), True, frozenset())


def distinct(atoms: Sequence[Vector]) -> tuple[Vector, ...] | None:
    """Without repetitions; None if they are too many."""
    found = {(a + 0.0).tobytes(): a for a in atoms if not np.isnan(a).all()}
    return tuple(found.values()) if len(found) <= MOST_ATOMS else None
