import numpy as np

from bnn_compiler.passes.lattice import Lattice, lattice_sum


def single(scale, reach, bias=0.0, odd=None):
    return Lattice((np.array([scale]),), (reach,), np.array([bias]), odd)


def holds(lattice, number):
    return bool(lattice.holds(np.array([number]))[0])


def test_a_single_term_holds_its_reachable_multiples():
    lattice = single(0.37, 9, bias=0.5)
    assert holds(lattice, 0.5) and holds(lattice, 0.5 + 9 * 0.37)
    assert not holds(lattice, 0.5 + 10 * 0.37)
    assert not holds(lattice, 0.0)


def test_parity_excludes_every_other_multiple():
    assert not holds(single(1.0, 9, odd=1), 0.0)
    assert holds(single(1.0, 9, odd=1), -3.0)
    assert holds(single(1.0, 8, odd=0), 0.0)


def test_a_scale_of_zero_leaves_the_bias():
    assert holds(single(0.0, 9, bias=2.0), 2.0)
    assert not holds(single(0.0, 9, bias=2.0), 0.0)


def test_a_sum_of_independent_scales_meets_zero_by_accident_only():
    a, b = single(0.37, 9, bias=0.1), single(0.2345, 9, bias=0.3)
    assert not holds(lattice_sum(a, b), 0.0)
    assert holds(lattice_sum(a, b), 0.4)
    assert holds(lattice_sum(a, b), 0.4 - 3 * 0.37)
    assert lattice_sum(a, None) is None


def test_related_scales_may_meet_anywhere():
    a, b = single(0.5, 9, bias=0.1), single(0.75, 9, bias=0.3)
    assert holds(lattice_sum(a, b), 0.0)


def test_equal_scales_stay_one_term():
    total = lattice_sum(single(0.5, 9), single(0.5, 4))
    assert total.reaches == (13,)
    assert holds(total, 6.5) and not holds(total, 7.0)
