import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from bnn_compiler.search.plans import Domain
from bnn_compiler.search.repair import cheapest, fill, repair, settle, uniform
from tests.search import toy
from tests.search.test_steps import PLANS

TIME, BYTES = toy.seconds(toy.FULL), toy.size(toy.FULL)


@settings(max_examples=40)
@given(PLANS, st.floats(0.01, 1.2), st.floats(0.002, 1.2))
def test_repair_ends_within_the_budgets_or_says_so(plans, time, size):
    prices = toy.prices(time * TIME, size * BYTES)
    genes = prices.domain.genes(plans)
    result, fits = repair(prices, genes)
    assert (fits == (prices.used(result) <= 1).all(1)).all()
    assert (result <= genes).all() and (result >= 0).all()
    # What fits already is left alone.
    assert (result[prices.fits(genes)] == genes[prices.fits(genes)]).all()
    # What is refused has nothing left whose removal would save anything.
    for row in result[~fits]:
        over = prices.used(row[None])[0] > 1
        for g in range(len(row)):
            lower = row.copy()
            lower[g] = 0
            assert (prices.used(lower[None])[0] >= prices.used(row[None])[0])[over].any()


def test_repair_drops_what_saves_most_per_channel():
    """Two groups of equal cost a step, but one's steps are half as long."""
    domain = Domain.of({"short": 64, "long": 64})
    prices = toy.prices(7.0, domain=domain)
    prices.limits[0].costs.function = lambda p: -(-p["short"] // 16) + -(-p["long"] // 32) * 1.0
    result, fits = repair(prices, domain.genes([{"short": 64, "long": 64}] * 2))
    assert domain.plans(result) == [{"short": 64, "long": 64}] * 2 and fits.all()
    prices = toy.prices(5.0, domain=domain)
    prices.limits[0].costs.function = lambda p: -(-p["short"] // 16) + -(-p["long"] // 32) * 1.0
    result, fits = repair(prices, domain.genes([{"short": 64, "long": 64}]))
    assert domain.plans(result) == [{"short": 48, "long": 64}] and fits.all()


def test_repair_sees_the_step_behind_a_slope():
    """Single channels save next to nothing; the step is what is compared."""
    domain = Domain.of({"slope": 64, "steps": 64})
    prices = toy.prices(4.5, domain=domain)

    def cost(plan):
        return -(-plan["steps"] // 16) + 1 + 1e-5 * plan["steps"] + 1e-4 * plan["slope"]

    prices.limits[0].costs.function = cost
    result, fits = repair(prices, domain.genes([{"slope": 64, "steps": 64}]))
    assert fits.all() and domain.plans(result) == [{"slope": 64, "steps": 48}]
    # Where only slopes are left, they are gone down.
    prices = toy.prices(5.0065, domain=domain)
    prices.limits[0].costs.function = lambda p: 5 + 1e-4 * p["slope"] + 1e-9 * p["steps"]
    result, fits = repair(prices, domain.genes([{"slope": 64, "steps": 64}]))
    assert fits.all()
    prices = toy.prices(5.0030, domain=domain)
    prices.limits[0].costs.function = lambda p: 5 + 1e-4 * p["slope"] + 1e-9 * p["steps"]
    result, fits = repair(prices, domain.genes([{"slope": 64, "steps": 64}]))
    assert fits.all() and 6 <= domain.plans(result)[0]["slope"] <= 30


def test_repair_finds_steps_again_when_they_move():
    """The second group's steps matter only once the first is small."""
    domain = Domain.of({"a": 64, "b": 64})
    prices = toy.prices(3.0, domain=domain)

    def cost(plan):
        return 8.0 if plan["a"] > 32 else -(-plan["b"] // 16) * 1.0

    prices.limits[0].costs.function = cost
    result, fits = repair(prices, domain.genes([{"a": 64, "b": 64}]))
    assert fits.all() and domain.plans(result) == [{"a": 32, "b": 48}]


@settings(max_examples=30)
@given(PLANS, st.floats(0.1, 1.0))
def test_filling_stays_within_the_budget_and_only_grows(plans, share):
    prices = toy.prices(share * TIME, 0.7 * BYTES)
    genes, fits = repair(prices, prices.domain.genes(plans))
    filled = fill(prices, genes[fits])
    assert prices.fits(filled).all()
    assert (filled >= genes[fits]).all()


@settings(max_examples=30)
@given(st.floats(0.05, 1.2))
def test_uniform_is_the_largest_uniform_scale_that_fits(share):
    prices = toy.prices(share * TIME, 0.9 * BYTES)
    (row,) = uniform(prices)
    scales = np.arange(1, 1001) / 1000
    every = prices.domain.scaled(np.tile(prices.domain.last, (1000, 1)), scales)
    if not prices.fits(row[None]).all():
        assert not prices.fits(every).any()
        return
    assert (row >= every[prices.fits(every)].max(0)).all()


def test_settled_rows_fit_and_stand_on_steps():
    prices = toy.prices(0.4 * TIME)
    rows = prices.domain.draw(np.random.default_rng(3), 40)
    settled = settle(prices, rows)
    assert len(settled) == 40 and prices.fits(settled).all()
    assert all(p["d"] % 16 == 0 for p in prices.domain.plans(settled))
    # Filled, they use most of the budget; else they stay where they were drawn.
    assert np.median(prices.used(settled)) > 0.9
    spread = prices.used(settle(prices, rows, up_to_budget=False))
    assert np.median(spread) < np.median(prices.used(settled))


def test_settling_leaves_out_what_cannot_be():
    domain = Domain.of(toy.FULL, legal=lambda plan: plan["a"] % 2 == 0)
    prices = toy.prices(0.4 * TIME, domain=domain)
    rows = domain.genes([toy.FULL, {**toy.FULL, "a": 63}])
    assert len(settle(prices, rows)) == 1
    assert len(settle(toy.prices(1e-12), rows)) == 0


def test_the_cheapest_plan_is_found_where_less_is_not_cheaper():
    """A bump of the model, and groups so small that they waste words."""
    domain = Domain.of({"a": 64}, groups={"c.groups": [1, 2, 4, 8]})
    prices = toy.prices(1.0, domain=domain)
    table = {1: 4.0, 2: 2.0, 4: 1.5, 8: 3.0}
    prices.limits[0].costs.function = lambda p: table[p["c.groups"]] + abs(p["a"] - 20) / 10
    assert domain.plans(cheapest(prices)) == [{"a": 20, "c.groups": 4}]
