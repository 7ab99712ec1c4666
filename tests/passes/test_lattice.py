import numpy as np

from bnn_compiler.passes.lattice import (
    NOWHERE,
    Lattice,
    lattice_mean,
    lattice_sum,
    lattice_union,
    listed,
    side_by_side,
)


def single(scale, reach, bias=0.0, odd=None):
    return Lattice((np.array([bias]),), (np.array([scale]),), (reach,), odd)


def holds(lattice, number):
    return bool(lattice.holds(np.array([number]))[0])


def numbers(*values):
    return listed([np.array([v]) for v in values])


def test_a_single_term_holds_its_reachable_multiples():
    lattice = single(0.37, 9, bias=0.5)
    assert holds(lattice, 0.5) and holds(lattice, 0.5 + 9 * 0.37)
    assert not holds(lattice, 0.5 + 10 * 0.37)
    assert not holds(lattice, 0.0)


def test_parity_excludes_every_other_multiple():
    assert not holds(single(1.0, 9, odd=1), 0.0)
    assert holds(single(1.0, 9, odd=1), -3.0)
    assert holds(single(1.0, 8, odd=0), 0.0)
    shifted = lattice_sum(single(1.0, 9, odd=1), numbers(2.0))
    assert holds(shifted, 3.0) and not holds(shifted, 2.0)


def test_parity_is_lost_with_other_numbers():
    assert holds(lattice_union([single(1.0, 9, odd=1), numbers(0.0)]), 0.0)
    assert holds(lattice_sum(single(1.0, 9, odd=1), single(1.0, 9, odd=1)), 2.0)


def test_a_scale_of_zero_leaves_the_bias():
    assert holds(single(0.0, 9, bias=2.0), 2.0)
    assert not holds(single(0.0, 9, bias=2.0), 0.0)


def test_a_sum_of_independent_scales_meets_zero_by_accident_only():
    a, b = single(0.37, 9, bias=0.1), single(0.2345, 9, bias=0.3)
    assert not holds(lattice_sum(a, b), 0.0)
    assert holds(lattice_sum(a, b), 0.4)
    assert holds(lattice_sum(a, b), 0.4 - 3 * 0.37)
    assert lattice_sum(a, None) is None


def test_scales_of_one_unit_meet_at_its_multiples():
    a, b = single(0.5, 9, bias=0.1), single(0.75, 9, bias=0.3)
    assert not holds(lattice_sum(a, b), 0.0)
    assert holds(lattice_sum(a, b), 0.4 + 0.25)
    assert not holds(lattice_sum(a, b), 0.4 + 9 * (0.5 + 0.75) + 0.25)
    third = single(np.float32(0.1), 20, bias=0.1)
    assert holds(lattice_sum(third, single(float(np.float32(0.1)) / 3, 20)), 0.1 + 0.1 / 3)


def test_three_scales_of_one_unit():
    total = lattice_sum(lattice_sum(single(1.0, 1), single(0.5, 1)), single(1 / 3, 1))
    assert holds(total, 1 / 6) and not holds(total, 1 / 12)


def test_equal_scales_stay_one_term():
    total = lattice_sum(single(0.5, 9), single(0.5, 4))
    assert total.reaches == (13,)
    assert holds(total, 6.5) and not holds(total, 7.0)


def test_what_is_continuous_stays_so():
    assert lattice_sum(NOWHERE, None) is NOWHERE
    assert not holds(lattice_sum(numbers(1.0, -1.0), NOWHERE), 1.0)
    assert holds(lattice_union([NOWHERE, numbers(1.0)]), 1.0)


def test_means_lie_between():
    mean = lattice_mean(numbers(-1.0, 1.0), 4)
    assert [holds(mean, v) for v in (0.0, 0.5, -1.0, 0.25, 1.5)] == [True] * 3 + [False] * 2
    chain = lattice_mean(lattice_union([numbers(-1.0, 1.0), single(0.37, 9, bias=0.21)]), 4)
    assert holds(chain, 0.21) and holds(chain, (1 - 1 + 1 - 1) / 4)
    assert not holds(lattice_sum(chain, single(0.123, 9, bias=0.0451)), 0.0)


def test_channels_that_are_joined_keep_their_own():
    joined = side_by_side([single(1.0, 4, bias=0.5), NOWHERE, numbers(2.0, 3.0)], [1, 1, 1])
    for number, found in ((0.5, [1, 0, 0]), (2.5, [1, 0, 0]), (3.0, [0, 0, 1])):
        assert joined.holds(np.full(3, number)).tolist() == [bool(f) for f in found]
    assert side_by_side([numbers(1.0), None], [1, 1]) is None


def test_too_many_are_not_told_apart():
    many = listed([np.array([float(i)]) for i in range(100)])
    assert lattice_sum(many, many) is None


def test_what_is_near_one_of_very_many_multiples_is_so_by_accident():
    fine = lattice_sum(single(1 / 64, 10**6), single(1 / 48, 10**6))
    assert holds(fine, 0.0) and holds(fine, 5.0)
    assert not holds(fine, 5000 + 1e-4) and holds(fine, 0.25 + 1e-9)


def test_terms_that_are_multiples_are_one_before_they_are_too_many():
    scales = [0.703125 * k for k in range(1, 17)] + [1.9140625 * k for k in range(1, 17)]
    total, many = numbers(0.5), numbers(0.5)
    for scale in [*scales, *(0.3046875 * k for k in range(1, 17)), 0.37]:
        total = lattice_sum(total, single(scale, 3))
    assert len(total.scales) == 4 and holds(total, 0.5 + 5 * 0.703125) and not holds(total, 0.51234)
    for i in range(60):
        many = lattice_sum(many, single(1.01**i, 3))
    assert many is None
