import numpy as np
from tvm import relax

from bnn_compiler.passes.facts import Fact
from bnn_compiler.passes.lattice import Lattice, listed

NONE = np.nan
FACT = Fact(
    np.array([-1.0, 0.0, 2.0]),
    np.array([1.0, 3.0, 4.0]),
    listed([np.array([-1.0, 0.0, NONE]), np.array([1.0, NONE, NONE])]),
    True,
    frozenset[relax.Var](),
)


def test_channels_that_are_moved_take_their_facts_along():
    moved = FACT.taken(np.array([2, 0, 0]))
    assert moved.low.tolist() == [2, -1, -1] and moved.high.tolist() == [4, 1, 1]
    assert {float(v) for a in moved.atoms for v in a if not np.isnan(v)} == {-1.0, 1.0}
    assert all(np.isnan(a[0]) for a in moved.atoms)
    chain = Fact(
        FACT.low, FACT.high, Lattice((np.zeros(3),), (np.arange(3.0),), (9,)), True, FACT.roots
    )
    assert chain.atoms is None
    assert chain.taken(np.array([2, 0])).points.scales[0].tolist() == [2, 0]


def test_a_border_is_a_number_that_occurs():
    framed = FACT.framed(0.5)
    assert framed.low.tolist() == [-1, 0, 0.5] and framed.high.tolist() == [1, 3, 4]
    assert any((a == 0.5).all() for a in framed.atoms)


def test_signs_of_bounds():
    assert not FACT.nonnegative() and not FACT.nonpositive()
    assert FACT.taken(np.array([1, 2])).nonnegative()
