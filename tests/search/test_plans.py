import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bnn_compiler.errors import SearchError
from bnn_compiler.search.plans import SCALES, Domain, key, seed_of
from tests.search import toy


def test_scales_are_the_published_ones():
    assert len(SCALES) == 31
    assert (SCALES[0], SCALES[1], SCALES[-1]) == (0.10, 0.13, 1.00)


def test_a_plan_has_one_key_and_one_seed():
    a, b = {"a": 3, "b": 5}, {"b": np.int64(5), "a": np.int64(3)}
    assert key(a) == key(b) == '{"a": 3, "b": 5}'
    assert seed_of(1, a) == seed_of(1, b)
    assert len({seed_of(s, p) for s in (0, 1) for p in (a, {"a": 3, "b": 6})}) == 4


def test_multiples_and_groups():
    domain = Domain.of({"a": 64}, multiples={"a": 8}, groups={"c.groups": [1, 2, 64, 4]})
    assert list(domain.values[0]) == list(range(8, 65, 8))
    # The smallest network, that of the most groups, comes first.
    assert domain.values[1] == (64, 4, 2, 1)
    assert domain.plans(domain.last[None]) == [{"a": 64, "c.groups": 1}]
    assert domain.plans(domain.genes([{"a": 40}])) == [{"a": 40, "c.groups": 1}]


def test_nothing_to_change_is_an_error():
    with pytest.raises(SearchError, match="no group of channels"):
        Domain.of({})
    with pytest.raises(SearchError, match="a: 10 channels are not a multiple of 4"):
        Domain.of({"a": 10}, multiples={"a": 4})


@given(st.lists(st.fixed_dictionaries({n: st.integers(1, f) for n, f in toy.FULL.items()})))
def test_genes_and_plans_are_inverse(plans):
    domain = Domain.of(toy.FULL, smallest=0)
    assert domain.plans(domain.genes(plans)) == plans


@given(st.integers(0, 99))
def test_draws_are_scales_of_the_full_counts(seed):
    domain = Domain.of(toy.FULL, groups={"c.groups": [1, 2, 4]})
    drawn = domain.plans(domain.draw(np.random.default_rng(seed), 20))
    for plan in drawn:
        for name, full in toy.FULL.items():
            assert plan[name] in {int(full * s) for s in SCALES}
        assert plan["c.groups"] in (1, 2, 4)


def test_scaling_leaves_groups_alone():
    domain = Domain.of({"a": 100}, groups={"c.groups": [1, 2, 4]})
    genes = domain.genes([{"a": 40, "c.groups": 2}] * 3)
    scaled = domain.plans(domain.scaled(genes, np.array([1.0, 1.5, 9.0])))
    assert [p["a"] for p in scaled] == [40, 60, 100]
    assert {p["c.groups"] for p in scaled} == {2}
