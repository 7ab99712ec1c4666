"""Terms of dimensions: unified, taken apart by reshapes, evaluated at a plan's counts."""

import numpy as np

from bnn_compiler.latency.dims import (
    Dim,
    Kind,
    Layer,
    find,
    fixed,
    groups,
    index,
    pin,
    polynomial,
    product,
    regroup,
    size,
    total,
    unify,
    value,
)


def leaf(size, position=-1, constant=False):
    return Dim(size, position=position, constant=constant)


def test_unified_leaves_are_one():
    a, b, c = leaf(8), leaf(8), leaf(8)
    unify(a, b)
    unify(c, a)
    assert find(a) is find(b) is find(c)


def test_dimensions_of_size_1_never_meet():
    a, b = leaf(1), leaf(1)
    unify(a, b)
    assert find(a) is not find(b)


def test_a_leaf_becomes_a_sum():
    a, b, c = leaf(4, 0), leaf(6, 1), leaf(10)
    unify(c, total([a, b]))
    assert size(c, (3, 5)) == 8
    assert index(c, (3, 5)).tolist() == [0, 1, 2, 4, 5, 6, 7, 8]
    assert polynomial(c) == (((0,), 1), ((1,), 1))


def test_sums_of_equal_parts_meet_part_by_part():
    parts = [leaf(4, 0), leaf(6, 1)], [leaf(4), leaf(6)]
    unify(total(parts[0]), total(parts[1]))
    assert find(parts[1][0]) is parts[0][0]
    assert find(parts[1][1]) is parts[0][1]


def test_terms_that_do_not_fit_are_fixed():
    for a, b in (
        (total([leaf(4), leaf(6)]), total([leaf(6), leaf(4)])),
        (total([leaf(4), leaf(6)]), product([leaf(2), leaf(5)])),
        (total([leaf(4), leaf(6)]), Dim(10, Kind.BATCH)),
        (leaf(4), leaf(6)),
    ):
        parts = [*a.parts, *b.parts]
        unify(a, b)
        assert all(find(d).kind is Kind.FIXED for d in (a, b, *parts))


def test_a_twice_doubled_group():
    a = leaf(4, 0)
    b = total([a, a])
    c = total([b, b])
    assert polynomial(c) == (((0,), 4),)
    assert index(c, (2,)).tolist() == [0, 1, 4, 5, 8, 9, 12, 13]


def test_a_flatten_keeps_pixels_of_channels():
    flat = product([leaf(4, 0), fixed(3)])
    assert size(flat, (2,)) == 6
    assert index(flat, (2,)).tolist() == [0, 1, 2, 3, 4, 5]
    assert polynomial(flat) == (((0,), 3),)
    turned = product([fixed(3), leaf(4, 0)])
    assert index(turned, (2,)).tolist() == [0, 1, 4, 5, 8, 9]


def test_products_of_sums():
    term = product([total([leaf(4, 0), leaf(6, 1)]), fixed(4), leaf(5, 2)])
    assert polynomial(term) == (((0, 2), 4), ((1, 2), 4))
    assert value(polynomial(term), (3, 2, 5)) == size(term, (3, 2, 5)) == 100


def test_counts_beyond_the_end_repeat():
    assert index(leaf(3, 0), (7,)).tolist() == [0, 1, 2, 0, 1, 2, 0]


def test_reshape_joins_and_takes_apart():
    a, h = leaf(8, 0), fixed(3)
    (joined,) = regroup([a, h], [24])
    assert size(joined, (5,)) == 15
    again = regroup([joined], [8, 1, 3])
    assert again[0] is a
    assert again[1].size == 1
    assert regroup([a], [2, 4]) is None, "a group of channels is not split"
    assert regroup([a, h], [12, 2]) is None


def test_reshape_splits_parameters():
    flat = leaf(24, constant=True)
    o, i, k = regroup([flat, leaf(1)], [4, 2, 3])
    o.position, i.position = 0, 1
    pin(k)
    assert size(flat, (3, 1)) == 9
    assert index(flat, (3, 1)).tolist() == [0, 1, 2, 6, 7, 8, 12, 13, 14]


def test_groups_follow_depthwise_channels():
    a = leaf(8, 0)
    assert groups(Layer("d", "d", a, a, groups=8), (5,)) == 5
    grouped = Layer("g", "g", a, a, groups=2, position=1)
    assert groups(grouped, (6, 3)) == 3
    columns = Dim(4, Kind.COLUMNS, layer=grouped)
    assert size(columns, (6, 3)) == 2
    assert polynomial(columns) is None


def test_columns_that_are_shared_are_inputs():
    a, b = leaf(8, 0), leaf(8)
    dense, other = Layer("a", "a", a, leaf(4)), Layer("b", "b", b, leaf(4))
    unify(Dim(8, Kind.COLUMNS, layer=dense), Dim(8, Kind.COLUMNS, layer=other))
    assert find(a) is find(b)
    assert dense.locked
    assert other.locked


def test_shared_columns_of_groups_are_fixed():
    a, b = leaf(8), leaf(4)
    grouped = Layer("g", "g", a, leaf(8), groups=2)
    unify(Dim(4, Kind.COLUMNS, layer=grouped), total([b]))
    other = Dim(4, Kind.COLUMNS, layer=Layer("h", "h", leaf(4), leaf(8)))
    unify(b, other)
    assert grouped.locked
    assert find(a).kind is Kind.FIXED


def test_index_of_a_fixed_dimension_is_all_of_it():
    assert np.array_equal(index(fixed(5), ()), np.arange(5))
