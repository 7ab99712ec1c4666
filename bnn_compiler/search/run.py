"""The spine of a search: domain, costs, accuracy and budgets in, a trained winner out.

    refuse what cannot be met -> generations -> measure the best, correct, go on -> train -> winner

Every step is saved before the next one, so a killed search goes on where it was.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bnn_compiler.errors import SearchError
from bnn_compiler.search.accuracy import Accuracy
from bnn_compiler.search.budget import Prices, shown
from bnn_compiler.search.checkpoint import Checkpoint, State, Trained
from bnn_compiler.search.evolution import Settings, Strategy
from bnn_compiler.search.finals import (
    Measure,
    Measuring,
    Say,
    Train,
    Training,
    finalists,
    uniform_within,
)
from bnn_compiler.search.loop import Loop, Progress
from bnn_compiler.search.plans import key, seed_of
from bnn_compiler.search.repair import cheapest

#: (plans, the one that always stays, memoised training) -> the plans, best first.
Choose = Callable[[Sequence[dict[str, int]], dict[str, int], Train], list[dict[str, int]]]


@dataclass(frozen=True)
class Parts:
    """What a search is made of; without ``train`` it ends with plans, without ``measure`` untimed.

    ``choose`` trains the finalists shortly and ranks them; ``train`` trains plans, ``together`` of
    them at a time.
    """

    strategy: Strategy
    accuracy: Accuracy
    measure: Measure | None = None
    choose: Choose | None = None
    train: Train | None = None
    together: int = 1


@dataclass(frozen=True)
class Ending:
    """How a search ends: ``finalists`` are measured and trained, ``rounds`` corrections are made.

    Every correction is followed by ``again`` more generations; the winner and the uniform plan are
    trained with ``seeds`` seeds each.
    """

    finalists: int = 8
    rounds: int = 3
    again: int = 5
    seeds: int = 1


@dataclass(frozen=True)
class Result:
    """What a search found. ``searched`` is its own best, ``winner`` that or ``uniform``."""

    winner: dict[str, int]
    searched: dict[str, int]
    uniform: dict[str, int]
    prices: Prices
    state: State
    trained: tuple[Trained, ...] = ()


def search(
    prices: Prices,
    parts: Parts,
    settings: Settings,
    seed: int,
    *,
    checkpoint: Checkpoint,
    resume: bool = False,
    ending: Ending | None = None,
    tell: Callable[[Progress], None] = lambda progress: None,
    say: Say = lambda text: None,
) -> Result:
    """Search, or go on with a search.

    Raises SearchError for a budget that cannot be met (before anything is judged), for a
    checkpoint of another search, and if every candidate is lost.
    """
    refuse_infeasible(prices)
    ending = ending or Ending()
    state = checkpoint.load(resume=resume)
    loop = Loop(parts.strategy, parts.accuracy, checkpoint, seed, tell)
    measuring = None
    if parts.measure is not None:
        measuring = Measuring(parts.measure, prices, state, checkpoint, say)
    while True:
        now = prices.corrected(state.factor)
        loop.run(state, now, settings.generations + len(state.corrections) * ending.again)
        chosen = finalists(state, now, ending.finalists)
        if not chosen:
            raise SearchError("no candidate has an accuracy and keeps the budget: nothing is found")
        factor = None if measuring is None else measuring.correction(chosen)
        if factor is None or len(state.corrections) >= ending.rounds:
            break
        state.corrections.append(factor)
        checkpoint.save(state)
        say(f"the target takes {factor:.3f} of the predicted time; the search goes on with that")
        refuse_infeasible(prices.corrected(factor))
    uniform = uniform_within(now, measuring)
    if measuring is not None:
        # If none keeps the budget, the result says by how much.
        fitting = [p for p in chosen if measuring.fits(p)]
        nearest = min(chosen, key=lambda p: measuring.of(p).seconds)
        chosen = fitting or [nearest]
        late = [uniform] if fitting and not measuring.fits(uniform) else []
    else:
        late = []
    return _trained(chosen, uniform, now, parts, state, checkpoint, seed, ending, late)


def refuse_infeasible(prices: Prices) -> None:
    """Raise SearchError, with the smallest reachable costs and their plan, if no plan fits."""
    genes = cheapest(prices)
    if prices.fits(genes).all():
        return
    (plan,) = prices.domain.plans(genes)
    for limit, share in zip(prices.limits, prices.used(genes)[0], strict=True):
        if share > 1:
            unit = limit.budget.unit
            why = "" if limit.factor == 1 else f", at {limit.factor:.3f} of the predicted time"
            raise SearchError(
                f"budget {limit.budget.text} cannot be met: the smallest plan that was found takes"
                f" {shown(share * limit.budget.limit, unit)}{why}; it is {key(plan)}"
            )


def _trained(
    chosen: list[dict[str, int]],
    uniform: dict[str, int],
    prices: Prices,
    parts: Parts,
    state: State,
    checkpoint: Checkpoint,
    seed: int,
    ending: Ending,
    late: list[dict[str, int]],
) -> Result:
    """Train the finalists, then the best of them and the uniform plan in full.

    What is ``late``, beyond a budget that others keep, is compared and cannot win.
    """
    if parts.train is None:
        return Result(chosen[0], chosen[0], uniform, prices, state)
    train = Training(parts.train, state, checkpoint, parts.together)
    ranked = chosen
    if parts.choose is not None and len(chosen) > 1:
        everyone = [*chosen, *([uniform] if uniform not in chosen else [])]
        ranked = parts.choose(everyone, uniform, train)
    searched = next((p for p in ranked if p != uniform), uniform)
    plans = [searched] if searched == uniform else [searched, uniform]
    pairs = [(p, seed_of(seed + i, p)) for p in plans for i in range(max(1, ending.seeds))]
    full = train([p for p, _ in pairs], [s for _, s in pairs], "full")
    scores = [_mean([t for t in full if t.plan == p]) for p in plans]
    if max(scores) < 0:
        raise SearchError(f"the winner could not be trained: {full[0].lost}")
    fair = [(score, -i) for i, score in enumerate(scores) if score >= 0 and plans[i] not in late]
    winner = plans[-max(fair)[1]] if fair else plans[scores.index(max(scores))]
    return Result(winner, searched, uniform, prices, state, tuple(full))


def _mean(trainings: Sequence[Trained]) -> float:
    """Of the validation accuracies; -1 without any."""
    found = [t.validation for t in trainings if t.validation is not None]
    return sum(found) / len(found) if found else -1.0
