"""From the sum of a network's kernels to its time, and how sure that is."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

#: What a network's time is made of besides its kernels: their sum (seconds), calls, bytes of the
#: input, which are checked for NaN, and bytes of weights that L2 does not hold.
FACTS = ("sum", "calls", "input", "cold")
#: The share of networks that an interval holds.
COVERAGE = 0.8
#: What a scale's usual value weighs, in programs.
_PULL = 0.5
#: Fewer programs than this say how much longer a network takes than its kernels, and no more.
_ENOUGH = 24


@dataclass(frozen=True)
class Spread:
    """``coefficients`` [FACTS] make seconds of facts. An interval is ``seconds`` times
    exp(-+ width * sqrt(disagreement squared + usual squared)), where ``usual`` is how far networks
    are missed: ``scales`` [1 + kinds], the first always, the others by the share of the time that
    is spent in kernels of a kind.
    """

    coefficients: tuple[float, ...]
    scales: tuple[float, ...]
    width: float

    def seconds(self, facts: Floats) -> Floats:
        """Of networks with ``facts`` [n, FACTS]."""
        return np.asarray(facts @ np.array(self.coefficients))

    def factor(self, disagreement: Floats, shares: Floats) -> Floats:
        """High over predicted, and predicted over low [n]; ``shares`` of the time [n, kinds]."""
        usual = self.scales[0] + shares @ np.array(self.scales[1:])
        return np.asarray(np.exp(self.width * np.sqrt(disagreement**2 + usual**2)))

    @staticmethod
    def fit(
        known: Floats,
        facts: Floats,
        disagreement: Floats,
        shares: Floats,
        seconds: Floats,
        random: NDArray[np.bool_],
    ) -> "Spread":
        """From the times of programs [n], ``known`` facts of them [n, FACTS] with the measured sum
        of their kernels, and ``facts`` with what the regressor said that had not seen them.

        How a network's time follows from its kernels' is learnt from ``known``: the errors of
        predicted sums would pull it down. How far networks are missed is learnt from those that are
        ``random`` [n], if they are enough: what was timed because it was hard to predict is missed
        by more.
        """
        coefficients = _coefficients(known, seconds)
        if random.sum() >= _ENOUGH:
            facts, shares = facts[random], shares[random]
            disagreement, seconds = disagreement[random], seconds[random]
        missed = np.abs(np.log(seconds / (facts @ coefficients)))
        # Disagreement alone would be too sure of what all members get wrong together.
        scales = _scales(shares, missed)
        widths = missed / np.sqrt(disagreement**2 + (scales[0] + shares @ scales[1:]) ** 2)
        # The quantile of one more that is to come.
        rank = min(1.0, COVERAGE * (len(widths) + 1) / len(widths))
        width = float(np.quantile(widths, rank))
        return Spread(tuple(map(float, coefficients)), tuple(map(float, scales)), width)

    def as_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return {
            "coefficients": list(self.coefficients),
            "scales": list(self.scales),
            "width": self.width,
        }

    @staticmethod
    def from_dict(data: Mapping[str, Any], kinds: int) -> "Spread":
        """The inverse, of so many ``kinds`` of kernels.

        Raises KeyError, TypeError or ValueError for anything else.
        """
        coefficients, scales = (
            tuple(float(v) for v in data[name]) for name in ("coefficients", "scales")
        )
        if len(coefficients) != len(FACTS) or len(scales) != 1 + kinds:
            raise ValueError(f"{len(coefficients)} coefficients for {len(FACTS)} facts")
        return Spread(coefficients, scales, float(data["width"]))


def disagreement(seconds: Floats) -> Floats:
    """The standard deviation of the logarithms of ``seconds`` [n, members], estimated without bias,
    so that ensembles of other sizes can be compared [n].
    """
    members = seconds.shape[1]
    if members < 2:
        return np.zeros(len(seconds))
    half = members / 2
    bias = math.sqrt(2 / (members - 1)) * math.gamma(half) / math.gamma(half - 0.5)
    return np.asarray(np.log(seconds).std(axis=1, ddof=1) / bias)


def _scales(shares: Floats, missed: Floats) -> Floats:
    """Non-negative scales [1 + kinds] of a network's error, near half the mean for all of them."""
    a = np.concatenate([np.ones((len(missed), 1)), shares], axis=1)
    usual = max(float(missed.mean()) / 2, 1e-4)
    gram = a.T @ a + _PULL * np.eye(a.shape[1])
    goal = a.T @ missed + _PULL * usual
    found = np.full(a.shape[1], usual)
    for _ in range(200):
        for i in range(len(found)):
            found[i] = max(0.0, found[i] + (goal[i] - gram[i] @ found) / gram[i, i])
    # A network of any kind can be missed.
    return np.asarray(np.maximum(found, 0.1 * usual))


def _coefficients(facts: Floats, seconds: Floats) -> Floats:
    """With the least squared relative error, near (1, 0, 0, 0); none but the first moves below 0,
    or small networks would have no time.
    """
    relative = facts / seconds[:, None]
    start = np.zeros(len(FACTS))
    start[0] = np.median(1 / relative[:, 0])
    if len(seconds) < _ENOUGH:
        return start
    size = np.sqrt((relative**2).mean(axis=0)) + 1e-30
    a = relative / size
    rest = 1 - relative @ start
    used = list(range(len(FACTS)))
    while True:
        # A ridge: what a fact explains it explains in many programs.
        some = a[:, used]
        penalty = 1e-3 * len(seconds) * np.eye(len(used))
        found = np.linalg.solve(some.T @ some + penalty, some.T @ rest) / size[used]
        worst = int(np.argmin(found[1:])) + 1 if len(used) > 1 else 0
        if worst == 0 or found[worst] >= 0:
            start[used] += found
            return start
        del used[worst]
