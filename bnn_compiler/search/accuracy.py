"""How good plans are: what a search asks, and what a candidate that fails becomes."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from bnn_compiler.search.plans import Plan

#: One candidate: its plan and its seed -> its accuracy in 0..1.
Evaluate = Callable[[Plan, int], float]


@dataclass(frozen=True)
class Lost:
    """A candidate without an accuracy, and why."""

    reason: str


class Accuracy(Protocol):
    """Whatever can judge candidates; the results depend on plans and seeds alone."""

    def of(self, plans: Sequence[Plan], seeds: Sequence[int]) -> list[float | Lost]:
        """The accuracy of each plan, 0..1, in order."""


def judge(evaluate: Evaluate, plan: Plan, seed: int) -> float | Lost:
    """One call: an exception, and a number that is none, lose this candidate only."""
    try:
        value = float(evaluate(plan, seed))
    except MemoryError:
        return Lost("out of memory")
    except Exception as e:
        return Lost(" ".join(f"{type(e).__name__}: {e}".split())[:300])
    return value if math.isfinite(value) else Lost(f"its accuracy is {value}")


@dataclass(frozen=True)
class Here:
    """Judges in this process, one after the other."""

    evaluate: Evaluate

    def of(self, plans: Sequence[Plan], seeds: Sequence[int]) -> list[float | Lost]:
        """As of any Accuracy."""
        return [judge(self.evaluate, p, s) for p, s in zip(plans, seeds, strict=True)]
