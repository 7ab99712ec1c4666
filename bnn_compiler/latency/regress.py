"""Seconds of kernels from their features: a rough linear estimate, and trees for what it misses.

The rough estimate is in proportion to counts (a vocabulary's terms), with coefficients of each kind
of kernel that are not negative. Trees (XGBoost) learn the logarithm of measured over estimated
seconds; several are trained on different programs: where they disagree, too little was measured.
"""

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import xgboost
from numpy.typing import NDArray

from bnn_compiler.latency.caches import LEVELS, Caches
from bnn_compiler.latency.vocabulary import CPU, Vocabulary

Floats = NDArray[np.float64]

_PARAMETERS = {
    "objective": "reg:squarederror",
    "max_depth": 5,
    "eta": 0.06,
    "subsample": 0.8,
    "colsample_bytree": 0.5,
    "min_child_weight": 3,
    "nthread": 1,
}
_ROUNDS = 250
#: To tell caches from kernels: passes, and rounds of each, too few to learn networks by heart.
_PASSES, _FEW = 6, 50
#: Of an ensemble.
MEMBERS = 4
#: No kernel takes less, and no prediction is further from the rough estimate: seconds, a factor.
_LEAST, _FURTHEST = 1e-8, 32.0


@dataclass(frozen=True)
class Kernels:
    """Features [n, names], terms [n, terms] and kinds [n] of n kernels, in these ``words``."""

    x: NDArray[np.float32]
    terms: Floats
    kinds: NDArray[np.int64]
    words: Vocabulary = CPU

    def at(self, index: Any) -> "Kernels":
        """Some of them."""
        return Kernels(self.x[index], self.terms[index], self.kinds[index], self.words)

    @property
    def weights(self) -> Floats:
        """Bytes of constants [n]."""
        return self._term("weights")

    @property
    def passing(self) -> Floats:
        """Bytes that stay in the caches, for as long as others do not push them out [n]."""
        return self.weights + self._term("written")

    @property
    def share(self) -> Floats:
        """Of the bytes, what is constants [n]."""
        others = self._term("read") + self._term("tensors") + self._term("written")
        return np.asarray(self.weights / np.maximum(self.weights + others, 1.0))

    def _term(self, name: str) -> Floats:
        return np.asarray(self.terms[:, self.words.terms.index(name)])


@dataclass(frozen=True)
class Regressor:
    """``coefficients`` [kinds, terms] make the rough estimate in seconds; ``trees`` correct it, and
    ``caches`` what they say, by the network that a kernel is in.

    With a ``prior``, another machine's regressor, its seconds times ``scales`` [kinds] are the
    rough estimate, and what was measured here only corrects them.
    """

    coefficients: Floats
    trees: tuple[xgboost.Booster, ...]
    prior: "Regressor | None" = None
    scales: Floats | None = None
    words: Vocabulary = CPU
    caches: Caches = field(default_factory=Caches)

    @staticmethod
    def fit(
        kernels: Kernels,
        seconds: Floats,
        programs: NDArray[np.int64],
        levels: NDArray[np.int64],
        prior: "Regressor | None" = None,
        members: int = MEMBERS,
    ) -> "Regressor":
        """Learn from ``seconds`` [n]; ``programs`` [n] says which program a kernel was timed in,
        ``levels`` [n] how large that is (caches.py).
        """
        coefficients = _coefficients(kernels, seconds)
        scales = None if prior is None else _scales(kernels, seconds, prior)
        rough = Regressor(coefficients, (), prior, scales, kernels.words)._rough(kernels)
        goal = np.log(seconds / rough)
        whole = np.bincount(programs, seconds)[programs]
        # A kernel weighs what it can do to the error of its program.
        weights = np.sqrt(seconds / whole)
        caches = Caches() if prior is None else prior.caches
        for _ in range(_PASSES):
            left = goal - caches.logs(kernels.share, levels)
            known = _grow(kernels, left, weights, programs, 0, _FEW)
            left = left - known.predict(_matrix(kernels))
            caches = caches.improved(left, weights**2, kernels.share, levels)
        goal = goal - caches.logs(kernels.share, levels)
        trees = tuple(_grow(kernels, goal, weights, programs, m, _ROUNDS) for m in range(members))
        return Regressor(coefficients, trees, prior, scales, kernels.words, caches)

    def predict(self, kernels: Kernels) -> Floats:
        """Seconds [n, members], but for ``factor``; one member if there are no trees."""
        rough = self._rough(kernels)[:, None]
        if not self.trees or not len(rough):
            return rough
        data = _matrix(kernels)
        logs = np.stack([tree.predict(data) for tree in self.trees], axis=1)
        furthest = np.log(_FURTHEST)
        return np.asarray(rough * np.exp(np.clip(logs.astype(np.float64), -furthest, furthest)))

    def factor(self, share: Floats, levels: NDArray[np.int64]) -> Floats:
        """How much longer kernels take in networks of ``levels`` [n], whose bytes are constants by
        ``share`` [n].
        """
        return np.asarray(np.exp(self.caches.logs(share, levels)))

    def _rough(self, kernels: Kernels) -> Floats:
        if self.prior is not None and self.scales is not None:
            before = np.exp(np.log(self.prior.predict(kernels)).mean(axis=1))
            return np.asarray(before * self.scales[kernels.kinds])
        found = (kernels.terms * self.coefficients[kernels.kinds]).sum(axis=1)
        return np.asarray(np.maximum(found, _LEAST))

    def as_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return {
            "features": list(self.words.names),
            "terms": list(self.words.terms),
            "kinds": list(self.words.kinds),
            "coefficients": self.coefficients.tolist(),
            "trees": [base64.b85encode(bytes(t.save_raw("ubj"))).decode() for t in self.trees],
            "prior": None if self.prior is None else self.prior.as_dict(),
            "scales": None if self.scales is None else self.scales.tolist(),
            "caches": list(self.caches.longer),
        }

    @staticmethod
    def from_dict(data: Mapping[str, Any], words: Vocabulary = CPU) -> "Regressor":
        """The inverse. Raises ValueError for one of other features, KeyError or TypeError for
        anything else.
        """
        known = {"features": words.names, "terms": words.terms, "kinds": words.kinds}
        for name, here in known.items():
            if tuple(data[name]) != here:
                raise ValueError(f"it was made for other {name}")
        prior, scales = data["prior"], data["scales"]
        # Models were made before there was this.
        longer = tuple(map(float, data.get("caches", Caches().longer)))
        if len(longer) != LEVELS:
            raise ValueError(f"{len(longer)} sizes of networks instead of {LEVELS}")
        return Regressor(
            np.array(data["coefficients"], float).reshape(len(words.kinds), len(words.terms)),
            tuple(_tree(text) for text in data["trees"]),
            None if prior is None else Regressor.from_dict(prior, words),
            None if scales is None else np.array(scales, float).reshape(len(words.kinds)),
            words,
            Caches(longer),
        )


def _matrix(kernels: Kernels, **others: Any) -> xgboost.DMatrix:
    return xgboost.DMatrix(kernels.x, feature_names=list(kernels.words.names), **others)


def _grow(
    kernels: Kernels,
    goal: Floats,
    weights: Floats,
    programs: NDArray[np.int64],
    member: int,
    rounds: int,
) -> xgboost.Booster:
    """Trees of one member of the ensemble, which sees some programs more often than others."""
    names = np.unique(programs)
    rng = np.random.default_rng(member)
    drawn = np.bincount(rng.integers(0, len(names), len(names)), minlength=len(names))
    times = drawn[np.searchsorted(names, programs)] + 0.5
    data = _matrix(kernels, label=goal, weight=weights * times)
    return xgboost.train({**_PARAMETERS, "seed": member}, data, rounds)


def _tree(text: str) -> xgboost.Booster:
    booster = xgboost.Booster()
    booster.load_model(bytearray(base64.b85decode(text)))
    return booster


def _coefficients(kernels: Kernels, seconds: Floats) -> Floats:
    """Of each kind, those with the least squared relative error; a kind that was never measured
    has those of all kernels together.
    """
    found = np.tile(_least(kernels.terms, seconds), (len(kernels.words.kinds), 1))
    for kind in np.unique(kernels.kinds):
        mine = kernels.kinds == kind
        found[kind] = _least(kernels.terms[mine], seconds[mine])
    return found


def _least(terms: Floats, seconds: Floats) -> Floats:
    """Non-negative w [terms] that minimises the sum of (terms @ w / seconds - 1) squared.

    By coordinate descent, which needs no library and cannot fail.
    """
    scaled = terms / seconds[:, None]
    size = np.sqrt((scaled**2).sum(axis=0))
    used = np.flatnonzero(size > 0)
    a = scaled[:, used] / size[used]
    gram, goal = a.T @ a, a.sum(axis=0)
    w = np.zeros(len(used))
    for _ in range(2000):
        before = w.copy()
        for i in range(len(used)):
            w[i] = max(0.0, w[i] + (goal[i] - gram[i] @ w) / gram[i, i])
        if np.abs(w - before).max(initial=0.0) <= 1e-9 * max(w.max(initial=0.0), 1e-30):
            break
    result = np.zeros(terms.shape[1])
    result[used] = w / size[used]
    return result


def _scales(kernels: Kernels, seconds: Floats, prior: Regressor) -> Floats:
    """How much slower each kind is here, pulled towards all kinds together where few were timed."""
    ratios = np.log(seconds / np.exp(np.log(prior.predict(kernels)).mean(axis=1)))
    general = float(np.median(ratios))
    found = np.full(len(kernels.words.kinds), general)
    for kind in np.unique(kernels.kinds):
        mine = ratios[kernels.kinds == kind]
        share = len(mine) / (len(mine) + 10)
        found[kind] = share * float(np.median(mine)) + (1 - share) * general
    return np.asarray(np.exp(found))
