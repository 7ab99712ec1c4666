"""From the search's best to one winner: measured on the target, then trained.

Inherited accuracy is a filter, not a verdict, and a predicted time is a prediction. So the best few
and the uniform plan are compiled and timed; if most are slower than predicted the model is
corrected and the search goes on, and so it does if they leave much of the budget unused; what is
left is trained, shortly first.
"""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bnn_compiler.search.budget import Limit, Prices, shown
from bnn_compiler.search.checkpoint import Checkpoint, Measured, State, Trained
from bnn_compiler.search.evolution import within
from bnn_compiler.search.plans import Plan
from bnn_compiler.search.repair import uniform

#: Plan -> measured seconds of one run.
Measure = Callable[[Plan], float]
#: (plans, seeds, stage) -> what came of training each; the stage says how long.
Train = Callable[[Sequence[Plan], Sequence[int], str], list[Trained]]
Say = Callable[[str], None]

#: Share of a predicted time by which plans may be faster before the model is corrected.
_UNUSED = 0.05
#: Share of a budget within which a uniform plan fills it.
_FULL = 0.005


@dataclass(frozen=True)
class Measuring:
    """Times plans once each; every measurement is saved at once."""

    measure: Measure
    prices: Prices
    state: State
    checkpoint: Checkpoint
    say: Say

    @property
    def limit(self) -> Limit | None:
        """The budget in seconds, if there is one."""
        return next((x for x in self.prices.limits if x.budget.unit == "s"), None)

    def of(self, plan: dict[str, int]) -> Measured:
        """The measurement of a plan."""
        known = self.state.measured_of(plan)
        if known is None:
            limit = self.limit
            predicted = None if limit is None else float(limit.costs.of([plan])[0])
            known = Measured(plan, self.measure(plan), predicted)
            self.state.measured.append(known)
            self.checkpoint.save(self.state)
            self.say(self.words(known))
        return known

    def fits(self, plan: dict[str, int]) -> bool:
        """Whether the plan, measured, is within the budget; True where that is not of time."""
        seconds = self.of(plan).seconds
        return self.limit is None or seconds <= self.limit.budget.limit

    def words(self, measured: Measured) -> str:
        """One measurement for a reader: against the prediction and the budget."""
        text = f"measured {shown(measured.seconds, 's')}"
        if measured.predicted is not None:
            corrected = measured.predicted * self.state.factor
            text += f", predicted {shown(corrected, 's')}"
        if self.limit is not None:
            over = measured.seconds / self.limit.budget.limit - 1
            text += f": {abs(over):.1%} {'over' if over > 0 else 'below'} the budget"
        return text

    def correction(self, plans: Sequence[dict[str, int]]) -> float | None:
        """Measured over predicted, the median, if most of ``plans`` are beyond the budget, or are
        so much faster than predicted that the budget is not used.
        """
        ratios = [r for p in plans if (r := self.of(p).ratio) is not None]
        if not ratios:
            return None
        found = statistics.median(ratios)
        over = sum(not self.fits(p) for p in plans)
        wrong = 2 * over > len(plans) or found < self.state.factor * (1 - _UNUSED)
        return found if wrong else None


@dataclass(frozen=True)
class Training:
    """Trains plans once each; results are saved after every ``together`` plans."""

    train: Train
    state: State
    checkpoint: Checkpoint
    together: int = 1

    def __call__(self, plans: Sequence[Plan], seeds: Sequence[int], stage: str) -> list[Trained]:
        """As ``train``, from what is known where it is."""
        wanted = list(zip(plans, seeds, strict=True))
        new = [pair for pair in wanted if self._known(*pair, stage) is None]
        for start in range(0, len(new), self.together):
            some, its = zip(*new[start : start + self.together], strict=True)
            self.state.trained += self.train(some, its, stage)
            self.checkpoint.save(self.state)
        found = [self._known(*pair, stage) for pair in wanted]
        return [t for t in found if t is not None]

    def _known(self, plan: Plan, seed: int, stage: str) -> Trained | None:
        trained = self.state.trained_of(dict(plan), stage)
        return next((t for t in trained if t.seed == seed), None)


def finalists(state: State, prices: Prices, count: int) -> list[dict[str, int]]:
    """The best ``count`` by inherited accuracy within the budgets, as they are known now."""
    return [c.plan for c in within(state.history.ranked(), prices)[:count]]


def uniform_within(prices: Prices, measuring: Measuring | None, rounds: int = 5) -> dict[str, int]:
    """The largest uniform plan within the budget, the measured one where it is measured.

    Each plan's own factor, measured over predicted, says which one is tried next, so that the
    uniform plan has as much of the measured time as a searched one. If none of ``rounds`` fits, the
    smallest is returned.
    """
    factor = next((x.factor for x in prices.limits if x.budget.unit == "s"), 1.0)
    tried: list[dict[str, int]] = []
    best: dict[str, int] | None = None
    while len(tried) < rounds:
        (plan,) = prices.domain.plans(uniform(prices.corrected(factor)))
        if plan in tried:
            break
        tried.append(plan)
        if measuring is None:
            return plan
        ratio = measuring.of(plan).ratio
        if measuring.fits(plan):
            best = plan
            if ratio is None or ratio > factor * (1 - _FULL):
                break
            factor = ratio
        elif best is not None:
            break
        else:
            factor = max(factor * (1 + _FULL), ratio or 0.0)
    return best or tried[-1]
