import numpy as np
from torch import nn

from bnn_compiler.nn import BinaryConv2d, Sign
from tests.passes.test_atoms import CONV, atoms_of


def test_a_binary_convolution_takes_integers():
    layer = nn.Sequential(Sign(), BinaryConv2d(4, 4, 3, scale=False))
    atoms, result = atoms_of(lambda x, layer: layer(x), layer)
    fact = atoms.fact(result)
    assert (fact.low[0], fact.high[0], fact.discrete, fact.free) == (-36, 36, True, frozenset())
    assert fact.points.holds(np.full(4, -34.0)).all()
    assert not fact.points.holds(np.full(4, -33.0)).any()


def test_a_float_convolution_is_continuous_in_itself():
    atoms, result = atoms_of(lambda x, conv: conv(x), CONV)
    fact = atoms.fact(result)
    assert fact.atoms == () and fact.free == fact.roots and len(fact.free) == 1
