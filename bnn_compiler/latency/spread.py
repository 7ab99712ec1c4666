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
#: Fewer programs than this say how much longer a network takes than its kernels, and no more.
_ENOUGH = 24


@dataclass(frozen=True)
class Spread:
    """``coefficients`` [FACTS] make seconds of facts. An interval is ``seconds`` times
    exp(-+ width * sqrt(disagreement squared + floor squared)).
    """

    coefficients: tuple[float, ...]
    floor: float
    width: float

    def seconds(self, facts: Floats) -> Floats:
        """Of networks with ``facts`` [n, FACTS]."""
        return np.asarray(facts @ np.array(self.coefficients))

    def factor(self, disagreement: Floats) -> Floats:
        """High over predicted, and predicted over low [n]."""
        return np.asarray(np.exp(self.width * np.sqrt(disagreement**2 + self.floor**2)))

    @staticmethod
    def fit(facts: Floats, disagreement: Floats, seconds: Floats) -> "Spread":
        """From predictions of programs that the regressor had not seen [n], and their times [n]."""
        coefficients = _coefficients(facts, seconds)
        missed = np.abs(np.log(seconds / (facts @ coefficients)))
        # Disagreement alone would be too sure of what all members get wrong together.
        floor = max(float(np.median(missed)), 1e-4)
        widths = missed / np.sqrt(disagreement**2 + floor**2)
        # The quantile of one more that is to come.
        rank = min(1.0, COVERAGE * (len(widths) + 1) / len(widths))
        return Spread(tuple(map(float, coefficients)), floor, float(np.quantile(widths, rank)))

    def as_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return {
            "coefficients": list(self.coefficients),
            "floor": self.floor,
            "width": self.width,
        }

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> "Spread":
        """The inverse. Raises KeyError, TypeError or ValueError for anything else."""
        coefficients = tuple(float(v) for v in data["coefficients"])
        if len(coefficients) != len(FACTS):
            raise ValueError(f"{len(coefficients)} coefficients for {len(FACTS)} facts")
        return Spread(coefficients, float(data["floor"]), float(data["width"]))


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
