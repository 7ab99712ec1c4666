"""NSGA-II (Deb et al., 2002) by pymoo: accuracy against one or more costs, within the budgets.

A generation's survivors follow from the history alone, so a search is resumed from its history. A
plan is repaired where it exceeds a budget, and grown to the steps; nothing is scaled up to a
budget, because smaller plans are what a front is for.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bnn_compiler.errors import SearchError
from bnn_compiler.search.budget import Prices
from bnn_compiler.search.evolution import Batch, Settings, within
from bnn_compiler.search.history import History, Scored
from bnn_compiler.search.plans import Genes
from bnn_compiler.search.repair import cheapest, uniform

#: Distribution indices of crossover and mutation, pymoo's for integers.
_ETA = 3.0


@dataclass(frozen=True)
class Pareto:
    """The strategy of several objectives. Raises SearchError where pymoo is not installed."""

    settings: Settings
    seed: int

    def __post_init__(self) -> None:
        try:
            import pymoo  # noqa: F401
        except ImportError as e:
            raise SearchError(
                "--pareto needs pymoo: pip install 'bnn_compiler[search]', or search without it"
            ) from e

    def propose(self, history: History, prices: Prices) -> list[dict[str, int]]:
        """The next generation."""
        generation = len(history.generations)
        rng = np.random.default_rng([self.seed, generation])
        batch = Batch(prices, history.seen, up_to_budget=False)
        size = self.settings.population
        survivors = self._survivors(history, prices)
        if not generation:
            batch.add(uniform(prices), 1)
            batch.add(cheapest(prices), 1)
        elif len(survivors) > 1:
            last = prices.domain.last
            batch.fill(size, lambda n: _offspring(survivors, last, n, rng))
        batch.fill(size, lambda n: prices.domain.draw(rng, n))
        return batch.plans

    def _survivors(self, history: History, prices: Prices) -> Any:
        """The population that the generations so far have left, ranked."""
        from pymoo.core.population import Population
        from pymoo.operators.survival.rank_and_crowding import RankAndCrowding

        left = Population.create()
        for number, generation in enumerate(history.generations):
            rng = np.random.default_rng([self.seed, number, 1])
            alive = within([c for c in generation if c.accuracy >= 0], prices)
            if alive:
                genes, values = _objectives(alive, prices)
                new = Population.new("X", genes.astype(float), "F", values)
                left = Population.merge(left, new)
                size = min(self.settings.population, len(left))
                problem = _problem(genes.shape[1], values.shape[1])
                left = RankAndCrowding().do(problem, left, n_survive=size, random_state=rng)
        return left


def front(candidates: Sequence[Scored], prices: Prices) -> list[Scored]:
    """Those within the budgets that no other is better than in every respect, cheapest first."""
    alive = within([c for c in candidates if c.accuracy >= 0], prices)
    if not alive:
        return []
    _, values = _objectives(alive, prices)
    best = [
        (tuple(value[1:]), i)
        for i, value in enumerate(values)
        if not ((values <= value).all(1) & (values < value).any(1)).any()
        and not any((values[j] == value).all() for j in range(i))
    ]
    return [alive[i] for _, i in sorted(best)]


def _objectives(candidates: Sequence[Scored], prices: Prices) -> tuple[Genes, np.ndarray]:
    """Genes, and what is to be small: the error, then the share of each budget."""
    genes = prices.domain.genes([c.plan for c in candidates])
    errors = np.array([[1 - c.accuracy] for c in candidates])
    return genes, np.concatenate([errors, prices.used(genes)], 1)


def _problem(genes: int, objectives: int, last: Genes | None = None) -> Any:
    """What pymoo's operators want to know: sizes, and the range of each gene."""
    from pymoo.core.problem import Problem

    high = np.ones(genes) if last is None else last.astype(float)
    return Problem(n_var=genes, n_obj=objectives, xl=np.zeros(genes), xu=high)


def _offspring(survivors: Any, last: Genes, count: int, rng: np.random.Generator) -> Genes:
    """[count, genes]: by pymoo's tournament, simulated binary crossover and mutation."""
    from pymoo.operators.crossover.sbx import SBX
    from pymoo.operators.mutation.pm import PM

    problem = _problem(len(last), 1, last)
    pairs = -(-count // 2)
    parents = [[_tournament(survivors, rng) for _ in range(2)] for _ in range(pairs)]
    children = SBX(prob=0.9, eta=_ETA, vtype=float).do(problem, parents, random_state=rng)
    children = PM(eta=_ETA, vtype=float).do(problem, children, random_state=rng)
    rows: Genes = np.clip(np.rint(children.get("X")), 0, last).astype(np.int64)
    return rows[:count]


def _tournament(survivors: Any, rng: np.random.Generator) -> Any:
    """The better of two: the lower front, then the emptier neighbourhood, then the first."""
    a, b = (survivors[int(i)] for i in rng.choice(len(survivors), 2, replace=False))
    return min((a, b), key=lambda each: (each.get("rank"), -each.get("crowding")))
