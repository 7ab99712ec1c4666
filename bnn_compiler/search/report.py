"""What a search found, as data that every form of the report shows."""

import math
import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from bnn_compiler.search.accuracy import Lost
from bnn_compiler.search.budget import shown
from bnn_compiler.search.checkpoint import Trained
from bnn_compiler.search.costs import Float
from bnn_compiler.search.halving import rank_correlation
from bnn_compiler.search.history import Scored
from bnn_compiler.search.pareto import front
from bnn_compiler.search.plans import Plan
from bnn_compiler.search.run import Result


@dataclass(frozen=True)
class Spread:
    """Accuracies of several seeds."""

    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Of all seeds."""
        return statistics.fmean(self.values)

    def text(self) -> str:
        """Mean, and least and most where there are several."""
        if not self.values:
            return "not trained"
        words = f"{self.mean:.1%}"
        if len(self.values) > 1:
            words += (
                f" ({min(self.values):.1%} to {max(self.values):.1%}, {len(self.values)} seeds)"
            )
        return words


@dataclass(frozen=True)
class Shipped:
    """A trained plan as an artifact: "searched" or "uniform", its file, its size in bytes.

    ``seconds`` of a run, timed in turns with the other one, and the ``accuracy`` (0..1) that it
    gave ``images`` test images itself, are None where it does not run.
    """

    name: str
    file: str
    bytes: int
    seconds: float | None = None
    accuracy: float | None = None
    images: int = 0


@dataclass(frozen=True)
class Entry:
    """One plan of the comparison: what it costs, and what it is worth."""

    name: str
    plan: dict[str, int]
    costs: tuple[float, ...]
    measured: float | None
    inherited: float | None
    validation: Spread
    test: Spread
    shipped: Shipped | None = None

    @property
    def final(self) -> float | None:
        """Seconds of its artifact, in turns with the other one."""
        return None if self.shipped is None else self.shipped.seconds

    @property
    def worth(self) -> str:
        """Accuracy, and the time it takes."""
        return self.test.text() + (f" at {shown(self.final, 's')}" if self.final else "")


@dataclass(frozen=True)
class SearchReport:
    """A search, its result, where it was made, and the artifacts that came of it.

    ``hint`` says what would time them where nothing did.
    """

    name: str
    target: str
    cpu: str
    seed: int
    result: Result
    shipped: tuple[Shipped, ...] = ()
    hint: str = "--device times it"

    def artifact(self, name: str) -> Shipped | None:
        """That of "searched" or "uniform", if it was made."""
        return next((s for s in self.shipped if s.name == name), None)

    @property
    def winner(self) -> str:
        """ "searched" or "uniform"."""
        return "uniform" if self.result.winner == self.result.uniform else "searched"

    @property
    def final_seconds(self) -> float | None:
        """Measured, of the winner's artifact."""
        made = self.artifact(self.winner)
        return None if made is None else made.seconds

    @property
    def budgets(self) -> list[str]:
        """As the user wrote them."""
        return [x.budget.text for x in self.result.prices.limits]

    @property
    def time_limit(self) -> float | None:
        """The budget in seconds, if there is one."""
        limits = self.result.prices.limits
        return next((x.budget.limit for x in limits if x.budget.unit == "s"), None)

    @property
    def correction(self) -> float:
        """The last factor on the predicted time, 1 if the model was never corrected."""
        return self.result.state.factor

    def costs(self, plans: Sequence[Plan]) -> Float:
        """Corrected costs, float64 [plans, limits]."""
        prices = self.result.prices
        limits = [x.budget.limit for x in prices.limits]
        found: Float = prices.used(prices.domain.genes(plans)) * limits
        return found

    def entries(self) -> list[Entry]:
        """Searched, uniform and full."""
        result = self.result
        (full,) = result.prices.domain.plans(result.prices.domain.last[None])
        named = [("searched", result.searched), ("uniform", result.uniform), ("full network", full)]
        return [self._entry(name, plan) for name, plan in named]

    def _entry(self, name: str, plan: dict[str, int]) -> Entry:
        state = self.result.state
        measured = state.measured_of(plan)
        trained = state.trained_of(plan, "full")
        return Entry(
            name,
            plan,
            tuple(self.costs([plan])[0].tolist()),
            None if measured is None else measured.seconds,
            state.inherited_of(plan),
            _spread(trained, "validation"),
            _spread(trained, "test"),
            self.artifact(name),
        )

    def front(self) -> list[Scored]:
        """The candidates that no other beats in accuracy and every cost."""
        return front(list(self.result.state.history), self.result.prices)

    def history(self) -> tuple[list[float], list[float]]:
        """Of each generation the best accuracy so far, and the mean of its own candidates."""
        best: list[float] = []
        mean: list[float] = []
        for generation in self.result.state.history.generations:
            found = [c.accuracy for c in generation if c.accuracy >= 0]
            if found:
                best.append(max([*best[-1:], *found]))
                mean.append(statistics.fmean(found))
        return best, mean

    def trust(self) -> list[tuple[Plan, float, float]]:
        """(plan, inherited, trained) of every plan of the first short training that has both."""
        state = self.result.state
        found = []
        for trained in state.trained:
            inherited = state.inherited_of(trained.plan)
            if trained.stage == "halving 1" and None not in (inherited, trained.validation):
                found.append((trained.plan, inherited, trained.validation))
        return found  # type: ignore[return-value]

    def correlation(self) -> float | None:
        """Spearman's of ``trust``; None for fewer than three plans, or if all are equal."""
        pairs = self.trust()
        if len(pairs) < 3:
            return None
        rank = rank_correlation([i for _, i, _ in pairs], [t for _, _, t in pairs])
        return None if math.isnan(rank) else rank

    def times(self) -> list[tuple[Plan, float, float]]:
        """(plan, predicted with the last correction, measured) of every measured plan."""
        return [
            (m.plan, m.predicted * self.correction, m.seconds)
            for m in self.result.state.measured
            if m.predicted is not None
        ]

    def lost(self) -> list[tuple[str, int]]:
        """Reasons and how many candidates each has cost."""
        reasons = [c.score.reason for c in self.result.state.history if isinstance(c.score, Lost)]
        return Counter(reasons).most_common()

    def summary(self) -> list[str]:
        """The lines at the head: the answer first, then what to be wary of."""
        state = self.result.state
        searched, uniform, _ = self.entries()
        lines = self._verdict(searched, uniform)
        if lines and len(searched.test.values) < 3:
            lines.append(
                "So few seeds say little: two trainings of one plan can differ by more than two"
                " plans do. --seeds 5 tells more."
            )
        lines.append(
            f"{len(state.history)} candidates in {len(state.history.generations)} generations,"
            f" budget {' and '.join(self.budgets)}, seed {self.seed}."
        )
        if self.winner == "uniform":
            lines.append(
                "The uniform plan is shipped: no searched plan was better on the images that plans"
                " are chosen by."
            )
        if self.final_seconds is not None:
            lines.append(self._final(self.final_seconds))
        else:
            lines.append(
                f"Predicted, no board: the code of {self.target} was not timed; {self.hint}."
            )
        if state.corrections:
            lines.append(
                f"The target took {self.correction:.3f} of the predicted time; the search was"
                f" corrected {len(state.corrections)} times and went on."
            )
        rank = self.correlation()
        if rank is not None:
            lines.append(
                f"Rank correlation of inherited and trained accuracy over {len(self.trust())}"
                f" plans: {rank:.2f}"
                + (". The supernet ranks them no better than chance." if rank < 0.3 else ".")
            )
        lines += [f"{count} candidates lost: {reason}" for reason, count in self.lost()]
        return lines

    def _verdict(self, searched: Entry, uniform: Entry) -> list[str]:
        """Searched against uniform, in one line, if both were trained."""
        if searched.plan == uniform.plan:
            return ["The search found no plan but the uniform one."]
        if not searched.test.values or not uniform.test.values:
            return []
        won = searched.test.mean - uniform.test.mean
        better = f"{abs(won) * 100:.1f} points {'better' if won > 0 else 'worse'} on the mean"
        line = (
            f"Trained from scratch and tested: searched {searched.worth}, uniform {uniform.worth}:"
            f" searched is {better}"
        )
        if searched.final and uniform.final:
            more = searched.final / uniform.final - 1
            line += f" and takes {abs(more):.1%} {'more' if more > 0 else 'less'} time"
        return [line + "."]

    def _final(self, seconds: float) -> str:
        text = f"The shipped artifact takes {shown(seconds, 's')}, measured"
        if self.time_limit is None:
            return text + "."
        over = seconds / self.time_limit - 1
        return text + f": {abs(over):.1%} {'over' if over > 0 else 'below'} the budget."

    def as_dict(self) -> dict[str, Any]:
        """All of it, for JSON: seconds, bytes and counts; accuracies are 0..1."""
        result, state = self.result, self.result.state
        best, mean = self.history()
        return {
            "name": self.name,
            "target": self.target,
            "cpu": self.cpu,
            "seed": self.seed,
            "budgets": [asdict(x.budget) for x in result.prices.limits],
            "summary": self.summary(),
            "winner": self.winner,
            "plan": result.winner,
            "final_seconds": self.final_seconds,
            "artifacts": [asdict(s) for s in self.shipped],
            "plans": [
                {**asdict(e), "validation": e.validation.values, "test": e.test.values}
                for e in self.entries()
            ],
            "front": [
                {**c.as_dict(), "costs": costs}
                for c, costs in zip(self.front(), self._front_costs(), strict=True)
            ],
            "history": {"best": best, "mean": mean},
            "rank_correlation": self.correlation(),
            "corrections": state.corrections,
            "measured": [asdict(m) for m in state.measured],
            "trained": [asdict(t) for t in state.trained],
            "candidates": [[c.as_dict() for c in g] for g in state.history.generations],
        }

    def _front_costs(self) -> list[list[float]]:
        plans = [c.plan for c in self.front()]
        costs: list[list[float]] = self.costs(plans).tolist() if plans else []
        return costs


def _spread(trained: Sequence[Trained], part: str) -> Spread:
    values = [getattr(t, part) for t in trained]
    return Spread(tuple(v for v in values if v is not None))
