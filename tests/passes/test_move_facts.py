"""What is known of moved values: of all channels together where channels are mixed."""

import numpy as np
import pytest
import torch
from torch import nn

from bnn_compiler.passes.atoms import Atoms
from bnn_compiler.passes.fold_tile import FoldTile
from tests.network import Applied, after, names

X = torch.randn(2, 4, 6, 6)


def known(function, *layers):
    """(the numbers that a moved value takes often, whether 0 is one): permuted and reshaped."""
    network = Applied(lambda x, *rest: function(x, *rest).view(2, 8, 2, 9) * 2.0, *layers)
    graph = after(network, X, FoldTile())
    assert names(graph).count("reshape") == 1
    atoms, (moved,) = Atoms(graph), graph.outputs
    listed = atoms.fact(moved).atoms
    return {float(a[-1]) for a in listed}, atoms.may_be_zero(moved)


def test_signs():
    assert known(lambda x: torch.where(x >= 0, 1.0, -1.0)) == ({-2.0, 2.0}, False)


@pytest.mark.parametrize("norm", [True, False])
def test_continuous_values(norm):
    layers = [nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)]
    assert known(lambda x, conv, bn: bn(conv(x)) if norm else conv(x), *layers) == (set(), False)


def test_relu_has_zeros():
    listed, may_be_zero = known(lambda x, conv: torch.relu(conv(x)), nn.Conv2d(4, 4, 1))
    assert listed == {0.0}
    assert may_be_zero


def test_channels_of_their_own():
    shift = torch.tensor([0.0, 1.0, 2.0, 3.0]).view(1, 4, 1, 1)
    listed, _ = known(lambda x: torch.where(x >= 0, 1.0, -1.0) + shift)
    np.testing.assert_array_equal(sorted(listed), np.arange(-2, 10, 2))
