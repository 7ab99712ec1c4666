import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from bnn_compiler.search.plans import Domain
from bnn_compiler.search.steps import furthest, grow
from tests.search import toy

PLANS = st.lists(
    st.fixed_dictionaries({n: st.integers(-(-f // 10), f) for n, f in toy.FULL.items()}),
    min_size=1,
    max_size=6,
)


@given(st.data())
def test_furthest_finds_the_last_good_position(data):
    """In both directions, for rows of their own."""
    count = data.draw(st.integers(1, 5))
    start = np.array(data.draw(st.lists(st.integers(0, 300), min_size=count, max_size=count)))
    ends = np.array(data.draw(st.lists(st.integers(0, 300), min_size=count, max_size=count)))
    reach = np.array(data.draw(st.lists(st.integers(0, 400), min_size=count, max_size=count)))
    genes = np.stack([np.zeros(count, np.int64), start], 1)
    found = furthest(
        genes, np.ones(count, int), ends, lambda rows, t: abs(t[:, 1] - start[rows]) <= reach[rows]
    )
    way = np.sign(ends - start)
    assert (found == start + way * np.minimum(reach, abs(ends - start))).all()


@settings(max_examples=50)
@given(PLANS)
def test_growing_never_costs_and_ends_on_the_steps(plans):
    prices = toy.prices(1.0)
    genes = prices.domain.genes(plans)
    grown = grow(prices, genes)
    assert (prices.used(grown) <= prices.used(genes)).all()
    assert (grown >= genes).all()
    for plan in prices.domain.plans(grown):
        # Of the last group only vectors of 16 count, of the others words of 32 too.
        assert plan["d"] % 16 == 0
        for g, name in enumerate(prices.domain.names):
            more = prices.domain.genes([plan])
            if more[0, g] < prices.domain.last[g]:
                more[0, g] += 1
                assert toy.seconds(prices.domain.plans(more)[0]) > toy.seconds(plan), name


@settings(max_examples=50)
@given(PLANS)
def test_of_two_budgets_none_may_rise(plans):
    """Every channel has its bytes, so nothing is free."""
    prices = toy.prices(1.0, 1e9)
    genes = prices.domain.genes(plans)
    assert (grow(prices, genes) == genes).all()


def test_steps_that_slope_a_little_are_steps():
    """A model's channels within a step cost a millionth each; beyond the budget nothing grows."""

    def sloping(plan):
        return toy.seconds(plan) * (1 + 1e-6 * plan["d"])

    start = {**toy.FULL, "d": 130}
    prices = toy.prices(1.0)
    prices.limits[0].costs.function = sloping
    assert prices.domain.plans(grow(prices, prices.domain.genes([start])))[0]["d"] == 144
    tight = toy.prices(sloping(start))
    tight.limits[0].costs.function = sloping
    grown = grow(tight, tight.domain.genes([start]))
    assert tight.fits(grown).all() and tight.domain.plans(grown)[0]["d"] == 130


def test_a_batch_is_its_rows():
    prices = toy.prices(1.0)
    rows = prices.domain.draw(np.random.default_rng(0), 8)
    alone = [grow(toy.prices(1.0), rows[i : i + 1])[0] for i in range(8)]
    assert (grow(prices, rows) == np.stack(alone)).all()


def test_fewer_groups_at_no_cost():
    """Group counts grow too: towards fewer groups, while words are not full anyway."""
    domain = Domain.of({"a": 64}, groups={"c.groups": [1, 2, 4, 8, 16, 32, 64]})
    prices = toy.prices(1.0, domain=domain)
    prices.limits[0].costs.function = lambda p: max(64 // p["c.groups"], 16) * 1e-3
    grown = domain.plans(grow(prices, domain.genes([{"a": 64, "c.groups": 32}])))
    assert grown == [{"a": 64, "c.groups": 4}]


def test_illegal_plans_are_no_steps():
    domain = Domain.of({"a": 64}, legal=lambda plan: plan["a"] <= 20)
    prices = toy.prices(1.0, domain=domain)
    prices.limits[0].costs.function = lambda p: 1.0
    assert domain.plans(grow(prices, domain.genes([{"a": 10}]))) == [{"a": 20}]
