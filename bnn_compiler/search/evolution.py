"""MetaPruning's evolutionary search (Liu et al., ICCV 2019), with candidates that obey budgets.

As published: 50 candidates a generation for 20 generations; the parents are the 10 best of all that
were seen; 25 children by mutation (each gene takes another of 31 scales with probability 0.1), 25
by crossover (each gene from one of two parents), no plan twice. Different, for reasons in
docs/search.md: a plan beyond the budget is repaired instead of discarded, one below it is scaled
up to it, all stand on the steps of the hardware, and uniform scaling is in the first generation.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from bnn_compiler.errors import SearchError
from bnn_compiler.search.budget import Prices
from bnn_compiler.search.history import History, Scored
from bnn_compiler.search.plans import Genes, key
from bnn_compiler.search.repair import settle, uniform

#: Rounds in which children that are known already, or fit no budget, are made anew.
_RETRIES = 10


@dataclass(frozen=True)
class Settings:
    """MetaPruning's published ones. Raises SearchError for numbers below 1, or 2 parents."""

    population: int = 50
    generations: int = 20
    parents: int = 10
    mutations: int = 25
    mutation_probability: float = 0.1

    def __post_init__(self) -> None:
        if self.population < 2 or self.generations < 1 or self.parents < 2:
            raise SearchError(
                f"population {self.population}, generations {self.generations}, parents"
                f" {self.parents}: give at least 2, 1 and 2"
            )
        if not 0 <= self.mutations <= self.population or not 0 < self.mutation_probability <= 1:
            raise SearchError(
                f"{self.mutations} mutations of {self.population} with probability"
                f" {self.mutation_probability}: give part of the population, and more than 0"
            )

    @staticmethod
    def of(population: int, generations: int) -> "Settings":
        """The published shares of another population."""
        parents, mutations = max(2, population // 5), population // 2
        return Settings(population, generations, parents, mutations)


class Strategy(Protocol):
    """Proposes a generation from what was seen, by a seed of the search and the generation."""

    def propose(self, history: History, prices: Prices) -> list[dict[str, int]]:
        """New plans within the budgets; fewer, or none, where no more can be found."""


@dataclass(frozen=True)
class Evolution:
    """The strategy of one objective: accuracy."""

    settings: Settings
    seed: int

    def propose(self, history: History, prices: Prices) -> list[dict[str, int]]:
        """The next generation."""
        rng = np.random.default_rng([self.seed, len(history.generations)])
        batch = Batch(prices, history.seen)
        size = self.settings.population
        if not history.generations:
            batch.add(uniform(prices), 1)
        else:
            parents = self._parents(history, prices)
            if len(parents):
                batch.fill(
                    self.settings.mutations, lambda n: self._mutated(rng, parents, prices, n)
                )
                batch.fill(size, lambda n: _crossed(rng, parents, n))
        batch.fill(size, lambda n: prices.domain.draw(rng, n))
        return batch.plans

    def _parents(self, history: History, prices: Prices) -> Genes:
        """[parents, genes]: the best that keep the budgets as they are known now."""
        best = within(history.ranked(), prices)[: self.settings.parents]
        return prices.domain.genes([c.plan for c in best])

    def _mutated(
        self, rng: np.random.Generator, parents: Genes, prices: Prices, count: int
    ) -> Genes:
        children = parents[rng.integers(len(parents), size=count)]
        change = rng.random(children.shape) < self.settings.mutation_probability
        mutated: Genes = np.where(change, prices.domain.draw(rng, count), children)
        return mutated


def _crossed(rng: np.random.Generator, parents: Genes, count: int) -> Genes:
    first, second = rng.integers(len(parents), size=(2, count))
    from_first = rng.random((count, parents.shape[1])) < 0.5
    children: Genes = np.where(from_first, parents[first], parents[second])
    return children


def within(candidates: list[Scored], prices: Prices) -> list[Scored]:
    """Those that keep the budgets, in order."""
    if not candidates:
        return []
    fits = prices.fits(prices.domain.genes([c.plan for c in candidates]))
    return [c for c, good in zip(candidates, fits, strict=True) if good]


class Batch:
    """New plans of a generation: within the budgets, on the steps, none twice."""

    def __init__(self, prices: Prices, seen: set[str], *, up_to_budget: bool = True) -> None:
        self.prices = prices
        self.up_to_budget = up_to_budget
        self.plans: list[dict[str, int]] = []
        self._seen = set(seen)

    def add(self, genes: Genes, most: int) -> None:
        """Up to ``most`` of the rows, which fit already."""
        for plan in self.prices.domain.plans(genes[self.prices.fits(genes)]):
            if most and key(plan) not in self._seen:
                self._seen.add(key(plan))
                self.plans.append(plan)
                most -= 1

    def fill(self, size: int, make: Callable[[int], Genes]) -> None:
        """Go on until the batch has ``size`` plans; ``make`` (count) gives rows to settle."""
        for _ in range(_RETRIES):
            missing = size - len(self.plans)
            if missing <= 0:
                return
            rows = settle(self.prices, make(missing), up_to_budget=self.up_to_budget)
            self.add(rows, missing)
