"""Generation after generation: propose, judge, save, tell."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from bnn_compiler.errors import SearchError
from bnn_compiler.search.accuracy import Accuracy, Lost
from bnn_compiler.search.budget import Prices
from bnn_compiler.search.checkpoint import Checkpoint, State
from bnn_compiler.search.evolution import Strategy, within
from bnn_compiler.search.plans import seed_of


@dataclass(frozen=True)
class Progress:
    """Where a search is. ``used`` is the best's share of the tightest budget."""

    generation: int
    generations: int
    candidates: int
    lost: int
    best: float | None
    used: float | None
    seconds_left: float | None


Tell = Callable[[Progress], None]


@dataclass(frozen=True)
class Loop:
    """What a search needs to go on from any state."""

    strategy: Strategy
    accuracy: Accuracy
    checkpoint: Checkpoint
    seed: int
    tell: Tell = lambda progress: None

    def run(self, state: State, prices: Prices, generations: int) -> None:
        """Until ``state`` has that many generations, or no new plan can be found.

        Raises SearchError if every candidate of the first generation is lost.
        """
        self.tell(progress(state, prices, generations))
        while len(state.history.generations) < generations:
            plans = self.strategy.propose(state.history, prices)
            if not plans:
                return
            start = time.monotonic()
            seeds = [seed_of(self.seed, plan) for plan in plans]
            scores = self.accuracy.of(plans, seeds)
            reasons = [s.reason for s in scores if isinstance(s, Lost)]
            if len(reasons) == len(scores) and not state.history.generations:
                raise SearchError(
                    f"all {len(scores)} candidates of the first generation were lost, the first"
                    f" because of: {reasons[0]}"
                )
            state.history.add(plans, scores)
            state.spent.append(time.monotonic() - start)
            self.checkpoint.save(state)
            self.tell(progress(state, prices, generations))


def progress(state: State, prices: Prices, generations: int) -> Progress:
    """The state in numbers."""
    done = len(state.history.generations)
    best = next(iter(within(state.history.ranked(), prices)), None)
    used = None
    if best is not None:
        used = float(prices.used(prices.domain.genes([best.plan])).max())
    left = None
    if state.spent:
        left = sum(state.spent) / len(state.spent) * max(generations - done, 0)
    return Progress(
        done,
        generations,
        len(state.history),
        len(state.history.lost),
        None if best is None else best.accuracy,
        used,
        left,
    )
