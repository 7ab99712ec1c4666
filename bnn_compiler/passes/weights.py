"""Float weights of two, three or four levels, and the binary tensors that add up to them."""

from dataclasses import dataclass

import numpy as np

from bnn_compiler.errors import ModelError
from bnn_compiler.ops.blocks import blocks

#: Weights of one output channel may differ this much in magnitude and still count as two-valued.
#: Folding a straight-through expression moves them by 3e-7; Larq Compute Engine allows 5e-3.
TOLERANCE = 1e-5

#: So few weights have two values by accident.
_FEW = 8

#: How to read a binary weight that is exactly 0; "exact" is what the network computes.
ZERO_WEIGHT = ("exact", "error", "+1", "-1")


@dataclass(frozen=True)
class TernaryWeights:
    """``signs`` int8 [O,KH,KW,C/groups] of -1/0/+1 and ``scale`` float32 [O], w = scale * signs.

    A channel of zeros alone has scale 0 and signs +1. ``zeros`` counts the others.
    """

    signs: np.ndarray
    scale: np.ndarray
    zeros: int

    @property
    def note(self) -> str:
        """How a report calls them; "" without zeros."""
        return ternary(self.zeros, self.signs.size)

    def planes(self, zero_weight: str, name: str) -> list[np.ndarray]:
        """Tensors of -1/+1 whose mean is ``signs``: two if some of them are 0.

        ``zero_weight`` is one of ZERO_WEIGHT; "+1" and "-1" give another network's weights.
        Raises ModelError, naming the layer ``name``, for a zero if it is "error".
        """
        if not self.zeros:
            return [self.signs]
        if zero_weight == "error":
            raise ModelError(
                f"{name}: {self.zeros} of {self.signs.size} binary weights are exactly 0, which"
                " zero_weight 'error' refuses; 'exact' computes them at twice the work"
            )
        read_as = (1, -1) if zero_weight == "exact" else (int(zero_weight),)
        return [np.where(self.signs == 0, np.int8(v), self.signs) for v in read_as]


def ternary(zeros: int, size: int) -> str:
    """How a report calls weights of which ``zeros`` are 0; "" for none."""
    return f"ternary weights, {100 * zeros / size:.2g} % zeros" if zeros else ""


def split_weights(w: np.ndarray) -> TernaryWeights | None:
    """Signs and scales of float weights [O,KH,KW,C].

    None if the weights of a channel that are not 0 differ in magnitude.
    """
    signs, scale, zeros = np.empty(w.shape, np.int8), np.empty(len(w), np.float32), 0
    for rows in blocks(len(w), w[0].size):
        part = _split_rows(w[rows])
        if part is None:
            return None
        signs[rows], scale[rows] = part.signs, part.scale
        zeros += part.zeros
    return TernaryWeights(signs, scale, zeros)


def _split_rows(w: np.ndarray) -> TernaryWeights | None:
    flat = np.abs(w.reshape(w.shape[0], -1).astype(np.float64))
    largest = flat.max(axis=1, keepdims=True)
    zero = flat == 0
    dead = largest[:, 0] == 0
    if not np.all(zero | (np.abs(flat - largest) <= TOLERANCE * largest)):
        return None
    counted = np.maximum((~zero).sum(axis=1), 1)
    scale = flat.sum(axis=1) / counted
    signs = np.where(w > 0, 1, np.where(w < 0, -1, 0)).astype(np.int8)
    signs[dead] = 1
    return TernaryWeights(signs, scale.astype(np.float32), int((signs == 0).sum()))


@dataclass(frozen=True)
class TwoLevelWeights:
    """``signs`` int8 [O,KH,KW,C/groups] of -1/+1, w = center + half * signs; both float32 [O]."""

    signs: np.ndarray
    center: np.ndarray
    half: np.ndarray


def two_levels(w: np.ndarray) -> TwoLevelWeights | None:
    """Weights [O,KH,KW,C] of which each output channel has two values (AdaBin); None for others."""
    flat = w.reshape(len(w), -1).astype(np.float64)
    if flat.shape[1] < _FEW or not np.isfinite(flat).all():
        return None
    low, high = flat.min(axis=1, keepdims=True), flat.max(axis=1, keepdims=True)
    size = np.maximum(np.abs(low), np.abs(high))
    upper = flat > (low + high) / 2
    distance = np.where(upper, high - flat, flat - low)
    # A third value in one channel, or a channel of one value alone, is no sign.
    if not np.all(distance <= TOLERANCE * size) or np.any(high - low <= 10 * TOLERANCE * size):
        return None
    counts = upper.sum(axis=1), (~upper).sum(axis=1)
    means = (
        np.where(upper, flat, 0).sum(axis=1) / counts[0],
        np.where(upper, 0, flat).sum(axis=1) / counts[1],
    )
    signs = np.where(upper, 1, -1).astype(np.int8).reshape(w.shape)
    center, half = (means[0] + means[1]) / 2, (means[0] - means[1]) / 2
    return TwoLevelWeights(signs, center.astype(np.float32), half.astype(np.float32))


@dataclass(frozen=True)
class ThreeLevelWeights:
    """``above`` and ``below`` int8 [O,KH,KW,C/groups] of -1/+1; ``upper``, ``lower`` float32 [O].

    w = (upper * (above + 1) + lower * (below - 1)) / 2: upper where above, -lower where not below.
    """

    above: np.ndarray
    below: np.ndarray
    upper: np.ndarray
    lower: np.ndarray

    @property
    def note(self) -> str:
        """How a report calls them."""
        return ternary(int((self.above != self.below).sum()), self.above.size)


def three_levels(w: np.ndarray) -> ThreeLevelWeights | None:
    """Weights [O,KH,KW,C] of 0 and, in each channel, one number on either side (TTQ)."""
    flat = w.reshape(len(w), -1).astype(np.float64)
    if flat.shape[1] < _FEW or not (flat == 0).any():
        return None
    upper, lower = (_one_number(np.maximum(sizes, 0)) for sizes in (flat, -flat))
    if upper is None or lower is None:
        return None
    above, below = (np.where(side, 1, -1).astype(np.int8) for side in (w > 0, w >= 0))
    return ThreeLevelWeights(above, below, upper.astype(np.float32), lower.astype(np.float32))


@dataclass(frozen=True)
class TwoBases:
    """``first`` and ``second`` int8 [O,KH,KW,C/groups] of -1/+1; ``large``, ``small`` float32 [O].

    w = large * first + small * second.
    """

    first: np.ndarray
    second: np.ndarray
    large: np.ndarray
    small: np.ndarray


def two_bases(w: np.ndarray) -> TwoBases | None:
    """Weights [O,KH,KW,C] of two sizes in each channel, never 0: sums of two bases, or 2 bits."""
    sizes = np.abs(w.reshape(len(w), -1).astype(np.float64))
    if sizes.shape[1] < _FEW**2 or not sizes.all() or not np.isfinite(sizes).all():
        return None
    low, high = sizes.min(axis=1, keepdims=True), sizes.max(axis=1, keepdims=True)
    upper = sizes > (low + high) / 2
    if not np.all(np.where(upper, high - sizes, sizes - low) <= TOLERANCE * high):
        return None
    large, small = ((high + low) / 2)[:, 0], ((high - low) / 2)[:, 0]
    signs = np.where(w > 0, 1, -1).astype(np.int8)
    second = np.where(upper.reshape(w.shape), signs, -signs).astype(np.int8)
    return TwoBases(signs, second, large.astype(np.float32), small.astype(np.float32))


def few_levels(w: np.ndarray) -> bool:
    """Whether float weights [O,KH,KW,C] are a sum of few binary tensors.

    Those of most float layers are told by their first channel: what all are, that one is too.
    """
    return _add_up(w[:1]) and _add_up(w)


def _add_up(w: np.ndarray) -> bool:
    """Each way is tried only where none before it did."""
    ways = (split_weights, two_levels, three_levels, two_bases)
    return any(way(w) is not None for way in ways)


def _one_number(sizes: np.ndarray) -> np.ndarray | None:
    """What all of a row's [O, K] that are not 0 are, 0 for a row of zeros; None if they differ."""
    largest = sizes.max(axis=1, keepdims=True)
    if not np.all((sizes <= 0) | (largest - sizes <= TOLERANCE * largest)):
        return None
    return np.asarray(sizes.sum(axis=1) / np.maximum((sizes > 0).sum(axis=1), 1))
