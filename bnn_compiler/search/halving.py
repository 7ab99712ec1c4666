"""Successive halving (Jamieson and Talwalkar, AISTATS 2016) of plans trained from scratch."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from bnn_compiler.errors import TrainingError
from bnn_compiler.search.crops import Plan


class Judge(Protocol):
    """Gives each plan its accuracy; what is no number is a candidate lost (search.accuracy)."""

    def of(self, plans: Sequence[Plan], seeds: Sequence[int]) -> Sequence[Any]:
        """The accuracy of each plan by its seed, in order."""


@dataclass(frozen=True)
class Round:
    """The plans of one round, best first, with the accuracies of each by seed (None: lost)."""

    plans: tuple[Plan, ...]
    scores: tuple[tuple[float | None, ...], ...]

    @property
    def means(self) -> tuple[float, ...]:
        """Of each plan's seeds; -inf where one is lost."""
        return tuple(_mean(s) for s in self.scores)


def halve(
    plans: Sequence[Plan],
    judges: Sequence[Judge],
    *,
    seeds: Sequence[int] = (0,),
    keep: float = 0.5,
    always: Sequence[Plan] = (),
) -> list[Round]:
    """Rounds of ever longer training, one for each of ``judges``, each with fewer plans.

    A round trains all its plans with every seed and hands on the best ``keep`` of them, and those
    of ``always`` (the uniform plan: so the answer is never worse than it). The last round's first
    plan is the answer. Equal means keep the order of ``plans``. Results depend on the plans, the
    seeds and the judges alone. Raises TrainingError if there is nothing to judge, or if every plan
    of a round is lost.
    """
    if not plans or not judges or not seeds or not 0 < keep < 1:
        raise TrainingError(
            f"{len(plans)} plans, {len(judges)} rounds, {len(seeds)} seeds, keeping {keep}:"
            " at least one of each, and a part of the plans"
        )
    rounds: list[Round] = []
    kept = _distinct([*plans, *always])
    for judge in judges:
        done = _judged(kept, judge, seeds)
        if done.means[0] == -math.inf:
            raise TrainingError(f"every plan of round {len(rounds) + 1} is lost")
        rounds.append(done)
        best = done.plans[: max(1, math.ceil(len(done.plans) * keep))]
        kept = _distinct([*best, *(p for p in always if p in done.plans)])
    return rounds


def _judged(plans: Sequence[Plan], judge: Judge, seeds: Sequence[int]) -> Round:
    pairs = [(p, s) for p in plans for s in seeds]
    found = judge.of([p for p, _ in pairs], [s for _, s in pairs])
    values = [v if isinstance(v, float) and math.isfinite(v) else None for v in found]
    count = len(seeds)
    scores = [tuple(values[i * count : (i + 1) * count]) for i in range(len(plans))]
    order = sorted(range(len(plans)), key=lambda i: -_mean(scores[i]))
    return Round(tuple(plans[i] for i in order), tuple(scores[i] for i in order))


def _mean(scores: Sequence[float | None]) -> float:
    values = [s for s in scores if s is not None]
    return sum(values) / len(values) if len(values) == len(scores) else -math.inf


def _distinct(plans: Sequence[Plan]) -> list[Plan]:
    return list({tuple(sorted(p.items())): p for p in reversed(plans)}.values())[::-1]


def rank_correlation(a: Sequence[float], b: Sequence[float]) -> float:
    """Spearman's, ties sharing their ranks: 1 the same order, 0 none; nan if one is constant.

    Between inherited and trained accuracies it tells how much a supernet can be believed. Raises
    TrainingError for fewer than two values, or not as many.
    """
    if len(a) != len(b) or len(a) < 2:
        raise TrainingError(f"ranks of {len(a)} and {len(b)} values; at least two of each")
    x, y = _ranks(a), _ranks(b)
    if x.std() == 0 or y.std() == 0:
        return math.nan
    return float(np.corrcoef(x, y)[0, 1])


def _ranks(values: Sequence[float]) -> "np.ndarray[Any, np.dtype[np.float64]]":
    _, inverse, counts = np.unique(np.asarray(values), return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return np.asarray((last - (counts - 1) / 2)[inverse], np.float64)
