import pytest

from bnn_compiler.errors import SearchError
from bnn_compiler.search.accuracy import Here, Lost
from bnn_compiler.search.evolution import Evolution, Settings, within
from bnn_compiler.search.history import History
from bnn_compiler.search.plans import Domain, key, seed_of
from bnn_compiler.search.repair import uniform
from tests.search import toy

TIME, BYTES = toy.seconds(toy.FULL), toy.size(toy.FULL)
SMALL = Settings.of(12, 6)


def evolve(strategy, prices, generations, judge=toy.accuracy):
    history = History()
    for _ in range(generations):
        plans = strategy.propose(history, prices)
        history.add(plans, Here(judge).of(plans, [seed_of(7, p) for p in plans]))
    return history


def test_the_defaults_are_the_published_ones():
    s = Settings()
    assert (s.population, s.generations, s.parents, s.mutations) == (50, 20, 10, 25)
    assert s.mutation_probability == 0.1
    assert Settings.of(50, 20) == s
    assert Settings.of(2, 1) == Settings(2, 1, 2, 1)


@pytest.mark.parametrize(
    "wrong",
    [
        {"population": 1},
        {"generations": 0},
        {"parents": 1},
        {"mutations": 51},
        {"mutation_probability": 0.0},
        {"mutation_probability": 1.1},
    ],
)
def test_other_numbers_are_refused(wrong):
    with pytest.raises(SearchError, match="give"):
        Settings(**wrong)


def test_every_candidate_keeps_the_budgets_and_none_comes_twice():
    prices = toy.prices(0.4 * TIME, 0.5 * BYTES)
    history = evolve(Evolution(SMALL, 0), prices, 6)
    plans = [c.plan for c in history]
    assert prices.fits(prices.domain.genes(plans)).all()
    assert len({key(p) for p in plans}) == len(plans) == 6 * 12


def test_uniform_is_the_first_candidate_and_the_search_beats_it():
    prices = toy.prices(0.4 * TIME)
    history = evolve(Evolution(SMALL, 0), prices, 6)
    first = history.generations[0][0]
    assert first.plan == prices.domain.plans(uniform(prices))[0]
    assert history.ranked()[0].accuracy > first.accuracy + 0.02
    # Each generation's best is no worse than the one before, over all that was seen.
    best = [max(c.accuracy for c in g) for g in history.generations]
    assert max(best[1:]) > best[0]


def test_a_seed_is_a_search():
    def one(seed):
        history = evolve(Evolution(SMALL, seed), toy.prices(0.4 * TIME), 3)
        return [[c.plan for c in g] for g in history.generations]

    assert one(0) == one(0)
    assert one(0) != one(1)


def test_a_proposal_follows_from_the_history_alone():
    prices = toy.prices(0.4 * TIME)
    history = evolve(Evolution(SMALL, 0), prices, 3)
    resumed = History(list(history.generations))
    fresh = toy.prices(0.4 * TIME)
    assert Evolution(SMALL, 0).propose(resumed, fresh) == Evolution(SMALL, 0).propose(
        history, prices
    )


def test_lost_candidates_are_no_parents():
    prices = toy.prices(0.4 * TIME)
    history = evolve(Evolution(SMALL, 0), prices, 5, toy.clumsy)
    reasons = {c.score.reason for c in history.lost}
    assert reasons == {"out of memory", "its accuracy is nan", "ValueError: no such layer"}
    assert all(not isinstance(c.score, Lost) for c in history.ranked())
    assert 0 < len(history.lost) < len(history) == 60


def test_a_corrected_model_takes_back_candidates():
    prices = toy.prices(0.4 * TIME)
    history = evolve(Evolution(SMALL, 0), prices, 3)
    slower = prices.corrected(1.2)
    left = within(history.ranked(), slower)
    assert len(left) < len(history)
    new = Evolution(SMALL, 0).propose(history, slower)
    assert len(new) == 12 and slower.fits(slower.domain.genes(new)).all()


def test_a_small_space_is_searched_to_its_end():
    domain = Domain.of({"a": 4}, smallest=0.25)
    prices = toy.prices(1.0, domain=domain)
    prices.limits[0].costs.function = lambda p: p["a"] / 4
    history = History()
    strategy = Evolution(SMALL, 0)
    while plans := strategy.propose(history, prices):
        history.add(plans, [0.5] * len(plans))
    # Below the budget a plan is scaled up to it.
    assert [c.plan for c in history] == [{"a": 4}]


def test_groups_and_channels_together():
    """A choice that is no scale, with plans that are not legal."""
    domain = Domain.of(
        {"a": 64, "b": 64},
        groups={"c.groups": [1, 2, 4, 8, 16]},
        legal=lambda p: p["a"] % p["c.groups"] == 0,
    )
    prices = toy.prices(0.5, domain=domain)
    prices.limits[0].costs.function = lambda p: p["a"] * p["b"] / p["c.groups"] / 4096
    history = evolve(Evolution(SMALL, 0), prices, 4, lambda p, s: p["a"] / 64 / p["c.groups"])
    assert all(domain.legal(c.plan) for c in history)
    assert len({c.plan["c.groups"] for c in history}) > 2
