import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bnn_compiler.errors import SearchError
from bnn_compiler.search.budget import Budget, limits_of, shown
from bnn_compiler.search.plans import Domain
from tests.search import toy


@pytest.mark.parametrize(
    ("text", "unit", "limit"),
    [
        ("2.5ms", "s", 2.5e-3),
        (" 800 us ", "s", 800e-6),
        ("800µs", "s", 800e-6),
        ("1e3ns", "s", 1e-6),
        ("300MFLOPs", "FLOPs", 3e8),
        ("300mflops", "FLOPs", 3e8),
        ("2GBOPs", "BOPs", 2e9),
        ("0.9e2MOPs", "OPs", 9e7),
        ("4.2MB", "B", 4.2e6),
        ("4.2mb", "B", 4.2e6),
        ("2MiB", "B", 2 * 2**20),
        ("77B", "B", 77),
    ],
)
def test_budgets_are_read(text, unit, limit):
    found = Budget.parse(text)
    assert found.unit == unit
    assert found.limit == pytest.approx(limit, rel=1e-12)
    assert found.text == text.strip()


@pytest.mark.parametrize(
    "text",
    ["", "ms", "2.5", "0ms", "-1ms", "2.5 parsecs", "1.2.3ms", "1e999s", "nanms", "infs", "2ms3us"],
)
def test_other_texts_are_one_clear_error(text):
    with pytest.raises(SearchError, match="give a positive number and a unit"):
        Budget.parse(text)


@given(st.floats(1e-9, 1e12), st.sampled_from(["s", "B", "FLOPs", "BOPs", "OPs"]))
def test_what_is_shown_can_be_read_again(value, unit):
    again = Budget.parse(shown(value, unit))
    assert again.unit == unit
    assert again.limit == pytest.approx(value, rel=1e-3)


def test_limits_of_budgets():
    costs = {"s": toy.Formula("time", "s", toy.seconds), "B": toy.Formula("w", "B", toy.size)}
    limits = limits_of([Budget.parse("1ms"), Budget.parse("2kB")], costs)
    assert [x.budget.limit for x in limits] == [1e-3, 2e3]
    assert limits[1].of([toy.FULL])[0] == toy.size(toy.FULL)
    with pytest.raises(SearchError, match="two budgets in B"):
        limits_of([Budget.parse("1kB"), Budget.parse("2kB")], costs)
    with pytest.raises(SearchError, match="nothing here predicts BOPs; there are B, s"):
        limits_of([Budget.parse("1GBOPs")], costs)
    with pytest.raises(SearchError, match="needs a budget"):
        limits_of([], costs)


def test_prices_are_shares_and_are_asked_for_once():
    full = toy.seconds(toy.FULL)
    prices = toy.prices(full / 2, toy.size(toy.FULL))
    rows = prices.domain.genes([toy.FULL, toy.FULL, {**toy.FULL, "d": 100}])
    used = prices.used(rows)
    assert used[:2].tolist() == [[2.0, 1.0]] * 2
    assert prices.fits(rows).tolist() == [False] * 3
    prices.used(rows[::-1])
    assert [x.costs.asked for x in prices.limits] == [2, 2]


def test_a_correction_is_of_time_alone():
    full = toy.seconds(toy.FULL)
    prices = toy.prices(full, toy.size(toy.FULL))
    rows = prices.domain.genes([toy.FULL])
    assert prices.corrected(1.25).used(rows).tolist() == [[1.25, 1.0]]
    # A correction replaces the one before.
    assert prices.corrected(1.25).corrected(1.1).used(rows)[0, 0] == pytest.approx(1.1)
    assert prices.limits[0].costs.asked == 0 or prices.limits[0].costs.asked == 1


def test_illegal_plans_cost_everything_and_nobody_is_asked_for_them():
    domain = Domain.of(toy.FULL, legal=lambda plan: plan["a"] % 2 == 0)
    prices = toy.prices(1.0, domain=domain)
    used = prices.used(domain.genes([{**toy.FULL, "a": 63}, toy.FULL]))
    assert np.isinf(used[0, 0]) and np.isfinite(used[1, 0])
    assert prices.limits[0].costs.asked == 1


def test_costs_that_are_no_numbers_are_an_error():
    prices = toy.prices(1.0)
    prices.limits[0].costs.function = lambda plan: float("nan")
    with pytest.raises(SearchError, match=r'costs of the plan \{"a": 64'):
        prices.used(prices.domain.genes([toy.FULL]))
