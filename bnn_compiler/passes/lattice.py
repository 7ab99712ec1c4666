"""Sums of scaled integers: the numbers that chains behind binary convolutions can take."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]
Mask = NDArray[np.bool_]
Integers = NDArray[np.int64]

#: Two scales have a common unit if their ratio is one of integers up to this ...
COMMENSURABLE = 16
#: ... or 1 to an integer up to this, as behind an average of so many ...
AVERAGED = 64
#: ... but for what computing a scale in float32 may move it by, relative to it.
SCALE_ROUNDING = 3e-7
#: ... as long as a number is at most so many units: what is nearer than that to a whole number of
#: very many is so by accident.
FEW_UNITS = 64
#: What a chain of float64 scales may have moved an integer by, relative to it.
ROUNDING = 1e-12
#: More terms, or biases, are not told apart.
MOST_TERMS, MOST_BIASES = 48, 128


@dataclass(frozen=True)
class Lattice:
    """One of ``biases`` + sum over i of scales[i] * k with an integer |k| <= reaches[i].

    Scales and biases are [C]; a bias is NaN in channels that lack it. Without biases there is no
    point, without scales they are all. ``odd`` of a single term: None if k is any integer, else
    k mod 2.
    """

    biases: tuple[Vector, ...] = ()
    scales: tuple[Vector, ...] = ()
    reaches: tuple[int, ...] = ()
    odd: int | None = None

    def holds(self, number: Vector) -> Mask:
        """Per channel, whether ``number`` is a point, other than by terms that meet by accident.

        Terms without a common unit reach a number together by accident only.
        """
        if not self.biases:
            return np.zeros(number.size, bool)
        rest = number - np.stack(self.biases)
        parts, others = self._units()
        found = (rest == 0) & (self.odd is None)
        for i in range(len(self.scales)):
            found |= self._of_unit(rest, i, parts[i], others[i])
        return np.asarray(found.any(axis=0))

    def _of_unit(self, rest: Vector, term: int, parts: Integers, others: Vector) -> Mask:
        """Whether ``rest`` [B, C] is ``term`` and terms as long as ``others`` of its unit."""
        scale = self.scales[term]
        unit = np.where(scale == 0, 1, np.abs(scale) / parts)
        k = np.abs(rest) / unit
        integer = np.rint(k)
        rounded = (others > 0) & (k <= FEW_UNITS)
        near = np.abs(k - integer) <= np.where(rounded, SCALE_ROUNDING, ROUNDING) * k
        near &= k < (np.abs(scale) * self.reaches[term] + others) / unit + 0.5
        if self.odd is not None:
            near &= integer % 2 == self.odd
        return np.where(scale == 0, rest == 0, near)

    def _units(self) -> tuple[Integers, Vector]:
        """Of each term [T, C]: the parts in which its unit cuts it, what others of that unit add.

        A unit is common to all terms whose ratios are of small integers.
        """
        shape = len(self.scales), self.biases[0].size
        parts: Integers = np.ones(shape, np.int64)
        others: Vector = np.zeros(shape)
        for i, a in enumerate(self.scales):
            for j in range(i):
                b = self.scales[j]
                of_a, of_b = parts_of(a, b)
                related = of_a > 0
                if related.any():
                    parts[i] = np.lcm(parts[i], np.maximum(of_a, 1))
                    parts[j] = np.lcm(parts[j], np.maximum(of_b, 1))
                    others[i] += np.where(related, np.abs(b) * self.reaches[j], 0)
                    others[j] += np.where(related, np.abs(a) * self.reaches[i], 0)
        return parts, others

    def affine(self, scale: Vector, bias: Vector) -> "Lattice":
        """Of numbers times ``scale`` [C] plus ``bias`` [C]."""
        scales, reaches = _together([(s * scale, r) for s, r in self.terms()])
        biases = tuple(b * scale + bias for b in self.biases)
        return Lattice(biases, scales, reaches, self.odd if scales else None)

    def taken(self, index: Integers) -> "Lattice":
        """Of the channels ``index``."""
        scales, reaches = _together([(s[index], r) for s, r in self.terms()])
        return Lattice(tuple(b[index] for b in self.biases), scales, reaches, self.odd)

    def terms(self) -> list[tuple[Vector, int]]:
        """(scale, reach) of each."""
        return list(zip(self.scales, self.reaches, strict=True))


#: Of a value that takes each number by accident only.
NOWHERE = Lattice()


def parts_of(a: Vector, b: Vector) -> tuple[Integers, Integers]:
    """In how many parts a and b [C] are to be cut to have one unit; 0 where they have none."""
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.abs(a / b)
    ratio = np.where((ratio > 0.5 / AVERAGED) & (ratio < 2 * AVERAGED), ratio, 0)
    cuts = np.arange(1, COMMENSURABLE + 1)[:, None]
    count = ratio * cuts
    near = np.rint(count)
    found = (near > 0) & (near <= np.where(cuts == 1, AVERAGED, COMMENSURABLE))
    found &= np.abs(count - near) <= SCALE_ROUNDING * near
    first, some = found.argmax(axis=0), found.any(axis=0)
    of_a = np.take_along_axis(near, first[None], axis=0)[0]
    inverse = 1 / np.where(ratio == 0, 1, ratio)
    times = np.rint(inverse)
    whole = (times > COMMENSURABLE) & (times <= AVERAGED) & (ratio > 0)
    whole &= np.abs(inverse - times) <= SCALE_ROUNDING * times
    of_a, of_b = np.where(some, of_a, whole), np.where(some, first + 1, np.where(whole, times, 0))
    return of_a.astype(np.int64), of_b.astype(np.int64)


def listed(numbers: Sequence[Vector]) -> Lattice | None:
    """Of these numbers, NaN in channels that lack one; None if they are too many."""
    return _limited(numbers, [], None)


def lattice_sum(a: Lattice | None, b: Lattice | None) -> Lattice | None:
    """Of independent sums; None if there is none of an operand, or they are too many."""
    if any(x is not None and not x.biases for x in (a, b)):
        return NOWHERE
    if a is None or b is None or len(a.biases) * len(b.biases) > MOST_BIASES:
        return None
    odd = (a.odd if a.scales else b.odd) if not (a.scales and b.scales) else None
    biases = [x + y for x in a.biases for y in b.biases]
    return _limited(biases, [*a.terms(), *b.terms()], odd)


def lattice_union(lattices: Sequence[Lattice | None]) -> Lattice | None:
    """Of numbers of any of these."""
    if any(x is None for x in lattices):
        return None
    known = [x for x in lattices if x is not None and x.biases]
    longest: dict[bytes, tuple[Vector, int]] = {}
    for scale, reach in (t for x in known for t in x.terms()):
        key = np.abs(scale).tobytes()
        if key not in longest or reach > longest[key][1]:
            longest[key] = scale, reach
    odd = known[0].odd if len(known) == 1 else None
    return _limited([b for x in known for b in x.biases], list(longest.values()), odd)


def lattice_mean(lattice: Lattice | None, count: int) -> Lattice | None:
    """Of means of ``count`` numbers: of one bias, and of what others are away from it."""
    if lattice is None or not lattice.biases:
        return lattice
    base = lattice.biases[0]
    for bias in lattice.biases[1:]:
        base = np.where(np.isnan(base), bias, base)
    away = [np.nan_to_num(b - base) for b in lattice.biases]
    terms = [(s / count, r * count) for s, r in lattice.terms()]
    return _limited([base], [*terms, *((a / count, count) for a in away)], None)


def side_by_side(lattices: Sequence[Lattice | None], sizes: Sequence[int]) -> Lattice | None:
    """Of their channels one after the other; ``sizes`` says how many each has."""
    known = [x for x in lattices if x is not None]
    if len(known) < len(lattices):
        return None

    def joined(columns: Sequence[tuple[Vector, ...]], missing: float) -> list[Vector]:
        most = max(map(len, columns))
        filled = [
            [*column, *[np.full(size, missing)] * (most - len(column))]
            for column, size in zip(columns, sizes, strict=True)
        ]
        return [np.concatenate(parts) for parts in zip(*filled, strict=True)]

    scales = joined([x.scales for x in known], 0.0)
    reaches = [max(x.reaches[i] for x in known if i < len(x.reaches)) for i in range(len(scales))]
    biases = joined([x.biases for x in known], np.nan)
    return _limited(biases, list(zip(scales, reaches, strict=True)), None)


def _limited(
    biases: Sequence[Vector], terms: Sequence[tuple[Vector, int]], odd: int | None
) -> Lattice | None:
    found = {(b + 0.0).tobytes(): b for b in biases if not np.isnan(b).all()}
    scales, reaches = _together(terms)
    if len(scales) > MOST_TERMS:
        scales, reaches = _together(_of_units(list(zip(scales, reaches, strict=True))))
    if len(scales) > MOST_TERMS or len(found) > MOST_BIASES:
        return None
    if not found:
        return NOWHERE
    return Lattice(tuple(found.values()), scales, reaches, odd if scales else None)


def _together(terms: Sequence[tuple[Vector, int]]) -> tuple[tuple[Vector, ...], tuple[int, ...]]:
    """Terms of equal scales as one; without those that are 0 in all channels."""
    found: dict[bytes, tuple[Vector, int]] = {}
    for scale, reach in terms:
        key = np.abs(scale).tobytes()
        if scale.any():
            found[key] = scale, reach + (found[key][1] if key in found else 0)
    return tuple(s for s, _ in found.values()), tuple(r for _, r in found.values())


def _of_units(terms: Sequence[tuple[Vector, int]]) -> list[tuple[Vector, int]]:
    """Terms of which one's scales are as many times the other's in all channels as one."""
    found: list[tuple[Vector, int]] = []
    for scale, reach in terms:
        for i, (other, most) in enumerate(found):
            longer, shorter = _times(scale, other), _times(other, scale)
            if longer:
                found[i] = other, most + longer * reach
                break
            if shorter:
                found[i] = scale, reach + shorter * most
                break
        else:
            found.append((scale, reach))
    return found


def _times(a: Vector, b: Vector) -> int:
    """The integer, up to COMMENSURABLE, which |a| is that many times |b| in all channels; or 0."""
    first = int(np.abs(b).argmax())
    ratio = abs(a[first] / b[first]) if b[first] else 0.0
    times = int(ratio) if 1 <= ratio <= COMMENSURABLE else 0
    return times if times and np.array_equal(np.abs(a), times * np.abs(b)) else 0
