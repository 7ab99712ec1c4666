import builtins

import numpy as np
import pytest

from bnn_compiler.errors import SearchError
from bnn_compiler.search.evolution import Settings
from bnn_compiler.search.history import History, Scored
from bnn_compiler.search.pareto import Pareto, front
from bnn_compiler.search.plans import key
from tests.search import toy
from tests.search.test_evolution import SMALL, evolve

TIME, BYTES = toy.seconds(toy.FULL), toy.size(toy.FULL)


def volume(points, worst=(1.0, 1.0)):
    """The area that (error, cost) points dominate."""
    area, left = 0.0, worst[1]
    for error, cost in sorted(points):
        area += max(0.0, worst[0] - error) * max(0.0, left - cost)
        left = min(left, cost)
    return area


def test_the_front_spreads_and_grows():
    prices = toy.prices(0.8 * TIME)
    history = evolve(Pareto(Settings.of(16, 8), 0), prices, 8)
    assert prices.fits(prices.domain.genes([c.plan for c in history])).all()
    assert len({key(c.plan) for c in history}) == len(history)

    def points(generations):
        found = front([c for g in history.generations[:generations] for c in g], prices)
        used = prices.used(prices.domain.genes([c.plan for c in found]))[:, 0]
        assert (np.diff(used) > 0).all()
        return [(1 - c.accuracy, u) for c, u in zip(found, used, strict=True)]

    assert volume(points(8)) > volume(points(1)) + 0.01
    last = points(8)
    assert len(last) > 8 and last[0][1] < 0.3 < 0.7 < last[-1][1]


def test_a_front_has_only_what_nothing_beats():
    prices = toy.prices(TIME)
    plans = [toy.FULL, {**toy.FULL, "d": 128}, {**toy.FULL, "d": 100}, {**toy.FULL, "d": 32}]
    scores = [0.9, 0.9, 0.7, 0.7]
    candidates = [Scored(dict(p), s) for p, s in zip(plans, scores, strict=True)]
    assert [c.plan["d"] for c in front(candidates, prices)] == [32, 128]
    # Equals are one point; what exceeds the budget is none.
    assert [c.plan["d"] for c in front([*candidates, candidates[1]], prices)] == [32, 128]
    assert front(candidates, toy.prices(TIME * 0.01)) == []
    assert front([], prices) == []


def test_three_objectives():
    prices = toy.prices(0.8 * TIME, 0.9 * BYTES)
    history = evolve(Pareto(SMALL, 0), prices, 5)
    found = front(list(history), prices)
    assert len(found) > 5
    values = np.column_stack(
        [
            [1 - c.accuracy for c in found],
            prices.used(prices.domain.genes([c.plan for c in found])),
        ]
    )
    for row in values:
        assert not ((values <= row).all(1) & (values < row).any(1)).any()


def test_a_proposal_follows_from_the_history_alone():
    history = evolve(Pareto(SMALL, 0), toy.prices(0.8 * TIME), 4)
    again = evolve(Pareto(SMALL, 0), toy.prices(0.8 * TIME), 3)
    resumed = History(list(again.generations))
    plans = Pareto(SMALL, 0).propose(resumed, toy.prices(0.8 * TIME))
    assert plans == [c.plan for c in history.generations[3]]
    assert plans != Pareto(SMALL, 1).propose(resumed, toy.prices(0.8 * TIME))


def test_lost_candidates_are_on_no_front():
    prices = toy.prices(0.8 * TIME)
    history = evolve(Pareto(SMALL, 0), prices, 4, toy.clumsy)
    assert history.lost
    assert all(c.accuracy > 0 for c in front(list(history), prices))


def test_without_pymoo_there_is_one_clear_error(monkeypatch):
    real = builtins.__import__

    def missing(name, *args, **kwargs):
        if name == "pymoo":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(SearchError, match=r"pip install 'bnn_compiler\[search\]'"):
        Pareto(SMALL, 0)
