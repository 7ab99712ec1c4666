"""How often a tensor's values occur, and the range of them that bytes should cover."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

#: Bins over [-reach, reach].
_BINS = 8192
#: Values outside the range, by "percentile".
_OUTSIDE = 1e-4
#: Parts of the whole range that "mse" and "entropy" try.
_SHARES = np.linspace(1.0, 0.1, 91)


@dataclass
class Histogram:
    """Counts of values; ``reach`` doubles when values are larger, and bins are joined."""

    reach: float = 0.0
    counts: Floats = field(default_factory=lambda: np.zeros(_BINS))
    least: float = np.inf
    most: float = -np.inf

    def add(self, values: NDArray[np.float32]) -> None:
        """Count finite values, of any shape."""
        largest = float(np.abs(values).max(initial=0.0))
        self.least = min(self.least, float(values.min(initial=np.inf)))
        self.most = max(self.most, float(values.max(initial=-np.inf)))
        if self.reach == 0.0:
            self.reach = largest
        if self.reach == 0.0:
            return
        while largest > self.reach:
            inner = self.counts.reshape(-1, 2).sum(axis=1)
            self.counts = np.pad(inner, _BINS // 4)
            self.reach *= 2
        self.counts += np.histogram(values.astype(np.float64), _BINS, (-self.reach, self.reach))[0]

    @property
    def centers(self) -> Floats:
        """The middle of each bin."""
        edges = np.linspace(-self.reach, self.reach, _BINS + 1)
        return np.asarray((edges[1:] + edges[:-1]) / 2)


Limits = tuple[float, float]


def _min_max(found: Histogram) -> Limits:
    return found.least, found.most


def _percentile(found: Histogram) -> Limits:
    share = np.cumsum(found.counts) / found.counts.sum()
    edges = np.linspace(-found.reach, found.reach, _BINS + 1)
    low = float(edges[np.searchsorted(share, _OUTSIDE / 2)])
    high = float(edges[np.searchsorted(share, 1 - _OUTSIDE / 2) + 1])
    return max(low, found.least), min(high, found.most)


def _best(found: Histogram, loss: Callable[[Histogram, float, float], float]) -> Limits:
    """The end above 0 first, then the one below, then the first again."""
    low, high = min(found.least, 0.0), max(found.most, 0.0)
    ends = [low, high]
    for end in (1, 0, 1):
        whole = (low, high)[end]

        def with_share(share: float, end: int = end, whole: float = whole) -> float:
            tried = [*ends]
            tried[end] = share * whole
            return loss(found, *tried)

        ends[end] = whole * min(_SHARES, key=with_share) if whole else 0.0
    return ends[0], ends[1]


def _squared_error(found: Histogram, low: float, high: float) -> float:
    step = (high - low) / 255
    if step <= 0:
        return np.inf
    x = found.centers
    zero = np.rint(-low / step)
    back = (np.clip(np.rint(x / step + zero), 0, 255) - zero) * step
    return float((found.counts * (x - back) ** 2).sum())


def _divergence(found: Histogram, low: float, high: float) -> float:
    """Kullback and Leibler's, of the values kept in the range from their bytes."""
    x, counts = found.centers, found.counts
    inside = (x >= low) & (x <= high)
    if np.count_nonzero(inside) < 256:
        return np.inf
    kept = counts[inside].copy()
    kept[0] += counts[x < low].sum()
    kept[-1] += counts[x > high].sum()
    level = np.clip(((x[inside] - low) / (high - low) * 256).astype(int), 0, 255)
    # Spread over the bins that are not empty, without what was put into the ends.
    occupied = kept > 0
    total = np.bincount(level, counts[inside], 256)
    share = np.bincount(level, occupied, 256)
    spread = np.where(occupied, (total / np.maximum(share, 1))[level], 0.0)
    p, q = kept / kept.sum(), spread / max(spread.sum(), 1.0)
    where = p > 0
    return float((p[where] * np.log(p[where] / np.maximum(q[where], 1e-12))).sum())


def _mse(found: Histogram) -> Limits:
    return _best(found, _squared_error)


def _entropy(found: Histogram) -> Limits:
    return _best(found, _divergence)


#: Ways to choose (low, high) of a histogram that is not constant.
METHODS: dict[str, Callable[[Histogram], Limits]] = {
    "min-max": _min_max,
    "percentile": _percentile,
    "mse": _mse,
    "entropy": _entropy,
}
