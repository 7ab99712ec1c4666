"""The plans that `benchmarks.search` compares: each method's answer at a budget of time.

    uniform     the full network scaled by one factor to the budget, grown to the ends of its steps
    searched    evolution, as `bnnc search` does it, the time as its budget
    random      as many plans, drawn at random, moved to the budget and onto the steps in one way
                with the evolution's
    FLOPs       the same evolution with arithmetic (FLOPs + BOPs / 64) as its budget, the uniform
                plan's; its best are then scaled by one factor to the time, and grown
    one group   (of a search of groups) every convolution with the same group count, channels scaled

All but uniform end in the same way: the best few and uniform are trained shortly, the better half
longer, and the best of them that is not uniform is the answer.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np

from benchmarks.search_networks import Size, Some
from bnn_compiler.latency import LatencyModel
from bnn_compiler.search.budget import Budget, Limit, Prices
from bnn_compiler.search.checkpoint import Checkpoint, State
from bnn_compiler.search.costs import Seconds, counted
from bnn_compiler.search.evolution import Batch, Evolution, Settings, Strategy
from bnn_compiler.search.finals import Training, finalists
from bnn_compiler.search.halving import rank_correlation
from bnn_compiler.search.history import History
from bnn_compiler.search.loop import Loop, Progress
from bnn_compiler.search.network import INHERITED, choose, training
from bnn_compiler.search.plans import Genes, key
from bnn_compiler.search.repair import fill, uniform
from bnn_compiler.search.steps import grow
from bnn_compiler.search.workers import Workers

METHODS = ("searched", "uniform", "random", "FLOPs", "one group")
#: What is not looked for.
GIVEN = ("uniform", "full")
Plan = dict[str, int]


@dataclass(frozen=True)
class Random:
    """A strategy that learns nothing: plans drawn at random, within the budget, on the steps."""

    settings: Settings
    seed: int

    def propose(self, history: History, prices: Prices) -> list[Plan]:
        """As many as an evolution's generation."""
        rng = np.random.default_rng([self.seed, len(history.generations)])
        batch = Batch(prices, history.seen)
        batch.fill(self.settings.population, lambda n: prices.domain.draw(rng, n))
        return batch.plans


@dataclass(frozen=True)
class Study:
    """One network's plans; everything is kept in the task's folder, and gone on from."""

    task: Some
    size: Size
    model: LatencyModel
    say: Callable[[str], None]

    @cached_property
    def _seconds(self) -> Seconds:
        return Seconds(self.task.space, self.model)

    def prices(self, seconds: float) -> Prices:
        """A budget of time."""
        text = f"{seconds * 1e6:.4g}us"
        return Prices(self.task.domain, (Limit(Budget("s", seconds, text), self._seconds),))

    def predicted(self, plan: Plan) -> float:
        """Seconds."""
        return float(self._seconds.of([plan])[0])

    def share(self, part: float) -> float:
        """Seconds of a part of the full network's predicted time, to a tenth of a microsecond."""
        return round(part * self.predicted(self.full), 7)

    @property
    def full(self) -> Plan:
        """The network as it is."""
        return self.task.domain.plans(self.task.domain.last[None])[0]

    def uniform(self, seconds: float) -> Plan:
        """Of a budget."""
        prices = self.prices(seconds)
        return prices.domain.plans(uniform(prices))[0]

    def answer(self, method: str, seconds: float, workers: Workers) -> Plan:
        """The plan that a method finds."""
        plain = self.uniform(seconds)
        if method == "uniform":
            return plain
        checkpoint = self._checkpoint(method, seconds)
        state = checkpoint.load(resume=True)
        best = self._candidates(method, seconds, state, checkpoint, workers)
        self.say(f"{method}, {seconds * 1e6:.4g} us: {len(state.history)} candidates")
        train = Training(training(self.task, workers.at), state, checkpoint, workers.count)
        everyone = [*best, *([plain] if plain not in best else [])]
        ranked = choose(everyone, plain, train, seed=self.task.seed) if len(best) > 1 else best
        return next((p for p in ranked if p != plain), plain)

    def known(self, plan: Plan, seeds: int) -> list[tuple[float, float]]:
        """Accuracies (on the images to choose by, on the test images) of full trainings so far."""
        state = self._trained.load(resume=True)
        return [
            (t.validation, t.test)
            for t in state.trained_of(plan, "full")
            if t.seed < seeds and t.validation is not None and t.test is not None
        ]

    def train(self, plan: Plan, seeds: range, workers: Workers) -> None:
        """Train a plan in full with those of ``seeds`` that it was not yet trained with."""
        checkpoint = self._trained
        state = checkpoint.load(resume=True)
        train = Training(training(self.task, workers.at), state, checkpoint, workers.count)
        found = train([plan] * len(seeds), list(seeds), "full")
        self.say(f"{', '.join(f'{t.test or 0:.2%}' for t in found)}: {key(plan)}")

    def correlation(self, method: str, seconds: float) -> float | None:
        """Of inherited accuracy and that after the first short training."""
        state = self._checkpoint(method, seconds).load(resume=True)
        pairs = [
            (inherited, t.validation)
            for t in state.trained
            if t.stage == "halving 1" and t.validation is not None
            for inherited in [state.inherited_of(t.plan)]
            if inherited is not None
        ]
        return rank_correlation(*zip(*pairs, strict=True)) if len(pairs) > 2 else None

    # ---- parts

    @property
    def _trained(self) -> Checkpoint:
        return Checkpoint(self.task.folder / "trained", self._identity)

    @property
    def _identity(self) -> dict[str, Any]:
        task = self.task
        return {
            "model": task.model, "groups": list(task.groups), "target": task.target,
            "latency": self.model.about.text, "size": asdict(self.size), "seed": task.seed,
        }  # fmt: skip

    def _checkpoint(self, method: str, seconds: float) -> Checkpoint:
        name = f"{seconds * 1e6:.4g}us-{method.replace(' ', '-')}"
        return Checkpoint(self.task.folder / name, self._identity)

    def _candidates(
        self, method: str, seconds: float, state: State, checkpoint: Checkpoint, workers: Workers
    ) -> list[Plan]:
        """The best few by inherited accuracy, at the budget."""
        prices = self.prices(seconds)
        if method == "one group":
            return self._one_group(prices)
        asked = self._arithmetic(self.uniform(seconds)) if method == "FLOPs" else prices
        settings = Settings.of(self.size.population, self.size.generations)
        strategy: Strategy = (Random if method == "random" else Evolution)(settings, self.task.seed)
        Loop(strategy, workers.at(INHERITED), checkpoint, self.task.seed, self._tell).run(
            state, asked, settings.generations
        )
        best = finalists(state, asked, self.size.finalists)
        if method == "FLOPs":
            genes = prices.domain.genes(best)
            return _distinct(prices.domain.plans(scaled_to(prices, genes)))
        return best

    def _arithmetic(self, plan: Plan) -> Prices:
        """The arithmetic of a plan as a budget."""
        costs = counted("OPs", self.task.space)
        (most,) = costs.of([plan])
        return Prices(self.task.domain, (Limit(Budget("OPs", most, f"{most:.0f}OPs"), costs),))

    def _one_group(self, prices: Prices) -> list[Plan]:
        domain = prices.domain
        full = domain.plans(domain.last[None])[0]
        plans = []
        for count in self.task.groups:
            # Where a convolution cannot have that many, it has the most it can.
            row = domain.genes([_with_groups(full, domain.values, domain.names, count)])
            found = scaled_to(prices, row)
            if prices.fits(found).all():
                plans += domain.plans(found)
        return _distinct(plans)

    def _tell(self, progress: Progress) -> None:
        best = "" if progress.best is None else f", best {progress.best:.1%}"
        self.say(f"generation {progress.generation} of {progress.generations}{best}")


def scaled_to(prices: Prices, genes: Genes) -> Genes:
    """Every row times the one factor that brings it to the budget, from either side, then grown."""
    factors = np.arange(20, 1001) / 1000
    rows = []
    for row in genes:
        smaller = prices.domain.scaled(np.tile(row, (len(factors), 1)), factors)
        fits = np.flatnonzero(prices.fits(smaller))
        rows.append(smaller[fits[-1]] if fits.size else smaller[0])
    return grow(prices, fill(prices, np.array(rows)))


def _with_groups(full: Plan, values: Any, names: tuple[str, ...], count: int) -> Plan:
    choices: Mapping[str, Any] = dict(zip(names, values, strict=True))
    return {
        n: max([v for v in choices[n] if v <= count], default=1) if n.endswith(".groups") else c
        for n, c in full.items()
    }


def _distinct(plans: list[Plan]) -> list[Plan]:
    return list({key(p): p for p in plans}.values())


def curve(budgets: list[float], reach: float = 1.25) -> list[float]:
    """Seconds of the uniform plans that times are compared by: the budgets, and around them."""
    found = list(budgets)
    for near in (b * f for b in budgets for f in (1 / reach, reach)):
        if all(abs(near / other - 1) > 0.1 for other in found):
            found.append(near)
    return sorted(found)
