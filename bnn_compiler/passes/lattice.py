"""Sums of scaled integers: the numbers that chains behind binary convolutions can take."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]
Mask = NDArray[np.bool_]

#: Two scales whose ratio is one of integers up to this meet more often than by accident.
COMMENSURABLE = 64
#: What a chain of float64 scales may have moved an integer by, relative to it.
ROUNDING = 1e-12


@dataclass(frozen=True)
class Lattice:
    """bias + sum over i of scales[i] * k with an integer |k| <= reaches[i]; scales, bias [C].

    ``odd`` of a single term: None if k is any integer, else k mod 2.
    """

    scales: tuple[Vector, ...]
    reaches: tuple[int, ...]
    bias: Vector
    odd: int | None = None

    def holds(self, number: Vector) -> Mask:
        """Per channel, whether ``number`` is a point of the lattice."""
        rest = number - self.bias
        if len(self.scales) == 1:
            with np.errstate(divide="ignore", invalid="ignore"):
                k = np.where(self.scales[0] == 0, 0.0, rest / self.scales[0])
                integer = (np.abs(k - np.rint(k)) <= ROUNDING * np.abs(k)) & (
                    np.abs(k) < self.reaches[0] + 0.5
                )
            if self.odd is not None:
                integer &= np.rint(np.abs(k)) % 2 == self.odd
            return np.where(self.scales[0] == 0, rest == 0, integer)
        # Terms of independent scales reach a number together by accident only.
        related = np.zeros(rest.shape, bool)
        for scale, reach in zip(self.scales, self.reaches, strict=True):
            related |= Lattice((scale,), (reach,), self.bias).holds(number)
        for i, a in enumerate(self.scales):
            for b in self.scales[i + 1 :]:
                related |= _commensurable(a, b)
        return related


def _commensurable(a: Vector, b: Vector) -> Mask:
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.abs(a / b)
    found = ~np.isfinite(ratio) | (ratio == 0)
    for q in range(1, COMMENSURABLE + 1):
        for r in (ratio * q, q / np.where(ratio == 0, 1, ratio)):
            near = np.rint(r)
            found |= (near > 0) & (np.abs(r - near) <= 1e-6 * near) & (near <= COMMENSURABLE)
    return found


def lattice_sum(a: Lattice | None, b: Lattice | None) -> Lattice | None:
    """The lattice of independent sums; None if one operand has none."""
    if a is None or b is None:
        return None
    one = len(a.scales) == len(b.scales) == 1
    if one and np.array_equal(a.scales[0], b.scales[0]):
        return Lattice(a.scales, (a.reaches[0] + b.reaches[0],), a.bias + b.bias)
    return Lattice(a.scales + b.scales, a.reaches + b.reaches, a.bias + b.bias)
