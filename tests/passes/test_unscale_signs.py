"""Convolutions of two-level activations and weights are exact binary convolutions."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from bnn_compiler.ops import relax_ops as ops
from tests.network import Applied, assert_agrees


def sign(x):
    return torch.where(x >= 0, 1.0, -1.0)


def binary(graph):
    """The convolutions of bits, and those of floats."""
    names = [ops.anchor_name(v) for v in graph.values.values()]
    return names.count("conv2d"), names.count("float_conv2d")


LEVELS = {
    "0 and 1": lambda x: (x > 0).float(),
    "rounded": lambda x: torch.round(torch.clamp(x, 0, 1)),
    "scaled": lambda x: 0.5 * sign(x),
    "negated": lambda x: -sign(x),
    "0 and a": lambda x: 0.3 * (x > 0.1).float(),
    "shifted": lambda x: 0.8 * (sign(x) + 0.1),
    "0 or -1": lambda x: -(x < 0).float(),
}


@pytest.mark.parametrize("levels", LEVELS)
@pytest.mark.parametrize("padding", [0, 1])
@pytest.mark.parametrize("groups", [1, 2])
def test_two_levels_are_a_binary_convolution(levels, padding, groups):
    conv = nn.Conv2d(8, 6, 3, groups=groups)
    norm = nn.BatchNorm2d(6)

    def network(x, conv, norm):
        y = F.conv2d(LEVELS[levels](x), sign(conv.weight), None, 1, padding, 1, groups)
        return norm(y)

    graph = assert_agrees(Applied(network, conv, norm), torch.randn(2, 8, 5, 6))
    assert binary(graph) == (1, 0)


@pytest.mark.parametrize("padding", [(1, 1, 1, 1), (2, 0, 1, 0)])
@pytest.mark.parametrize("value", [-1.0, 0.0, 1.0])
def test_padding_is_in_the_units_of_the_signs(padding, value):
    weight = torch.randn(5, 7, 3, 3)

    def network(x):
        u = (x > 0).float() * 2 - 1
        return F.conv2d(F.pad(-u, padding, value=value), sign(weight))

    graph = assert_agrees(Applied(network), torch.randn(1, 7, 5, 5))
    assert binary(graph) == (1, 0)


@pytest.mark.parametrize("groups", [1, 2, 8])
@pytest.mark.parametrize("offset", [0.0, 0.3])
def test_weights_of_two_levels(groups, offset):
    weight = torch.randn(8, 8 // groups, 3, 3)
    center = torch.linspace(-0.5, 0.5, 8).round(decimals=1).reshape(8, 1, 1, 1)

    def network(x):
        w = sign(weight) * 0.7 + center
        return F.conv2d(sign(x) + offset, w, None, 1, 1, 1, groups)

    graph = assert_agrees(Applied(network), torch.randn(1, 8, 6, 6))
    assert binary(graph) == (2, 0)


def test_a_scale_by_channel_stays_float():
    scale, weight = torch.rand(1, 8, 1, 1) + 0.5, torch.randn(4, 8, 3, 3)
    network = Applied(lambda x: F.conv2d(sign(x) * scale, sign(weight)))
    assert binary(assert_agrees(network, torch.randn(1, 8, 5, 5))) == (0, 1)


def test_a_constant_that_differs_by_place():
    weight, place = torch.randn(6, 8, 3, 3), torch.randn(1, 6, 5, 5)
    network = Applied(lambda x: F.conv2d(sign(x), sign(weight), padding=1) - place)
    assert binary(assert_agrees(network, torch.randn(2, 8, 5, 5))) == (1, 0)
