import pytest
import torch
from torch import nn
from torch.nn import functional as F

from bnn_compiler.passes.atoms import Atoms
from bnn_compiler.passes.fold_tile import FoldTile
from tests.network import Applied, after

X = torch.randn(2, 5, 20)


def may_be_zero(function, *layers, x=X):
    """Whether a last value that is plain is 0 more often than by accident."""
    graph = after(Applied(function, *layers), x, FoldTile())
    (copied,) = (graph.values[v] for v in graph.outputs)
    return Atoms(graph).may_be_zero(copied.args[0])


def linear(x, *_):
    """Continuous."""
    return x @ torch.linspace(-1, 1, 20 * 33).reshape(20, 33)


@pytest.mark.parametrize(
    "function",
    [
        linear,
        lambda x: F.layer_norm(linear(x), (33,), torch.full((33,), 0.5), torch.full((33,), 0.1)),
        lambda x: F.layer_norm(linear(x), (33,)),
        lambda x: linear(x).view(2, 5, 3, 11).permute(0, 2, 1, 3).flip(1),
        lambda x: linear(x).mean(1),
        lambda x: torch.softmax(linear(x), -1) @ linear(x + 1).transpose(1, 2),
        lambda x: torch.cat([torch.full((2, 1, 33), 0.25), linear(x)], 1),
        lambda x: linear(x).exp() - linear(x + 1),
        lambda x: linear(x).sum((1, 2)) * 2 - 3,
        lambda x: 3 - torch.sign(linear(x)),
        lambda x: F.hardtanh(linear(x)) - F.hardtanh(linear(x)).mean((1, 2), keepdim=True),
    ],
)
def test_0_is_an_accident(function):
    assert not may_be_zero(lambda x: function(x))


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x,
        lambda x: F.relu(linear(x)),
        lambda x: linear(x) - linear(x).amax(-1, keepdim=True),
        lambda x: linear(x)[..., :1] - linear(x)[..., :1].mean(-1, keepdim=True),
        lambda x: F.pad(linear(x), (0, 0, 1, 1)),
        lambda x: torch.cat([linear(x), torch.zeros(2, 1, 33)], 1),
        lambda x: torch.where(linear(x) > 1, linear(x), 0.0),
        lambda x: (linear(x) > 0.5).float() - 1,
        lambda x: torch.sign(linear(x)).sum(-1),
        lambda x: (linear(x) > 1).float() @ linear(x).transpose(1, 2),
        lambda x: linear(x) * torch.arange(33.0),
        lambda x: linear(x).round(),
        lambda x: torch.sign(linear(x)).mean((1, 2)),
        lambda x: F.relu(linear(x)) - F.relu(linear(x)).mean(1, keepdim=True),
    ],
)
def test_0_is_common(function):
    assert may_be_zero(lambda x: function(x))


def test_the_norm_of_a_binary_layer_is_one_plane():
    weights = torch.where(torch.randn(33, 20) > 0, 0.25, -0.25)

    def block(x, norm, *_):
        y = F.linear(torch.where(norm(x) >= 0, 1.0, -1.0), weights) + 0.1
        return torch.sign(y).view(2, 5, 3, 11).transpose(1, 2)

    assert not may_be_zero(lambda x, n: block(x, n) * 2 + 0.1, nn.LayerNorm(20))
