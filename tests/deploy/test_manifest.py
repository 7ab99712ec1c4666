import pytest
import torch
from torch import nn

import bnn_compiler
from bnn_compiler.nn import BinaryConv2d, Sign


def contract(bias, *signs):
    layers = [nn.Conv2d(3, 8, 1)]
    for sign in signs:
        layers += [sign, BinaryConv2d(8, 8, 3, padding=1), nn.MaxPool2d(2), nn.BatchNorm2d(8)]
        layers[-1].bias.data.fill_(bias)
    return nn.Sequential(*layers).eval(), torch.randn(1, 3, 8, 8)


@pytest.mark.parametrize(
    ("zeros", "bias", "said"),
    [
        ((1, 1), 0.3, "exact"),
        ((-1, 1), 0.3, "exact"),
        ((1, 0), 0.3, "+1"),
        # Integers, of which 0 is one: two planes of bits.
        ((1, 0), 0.0, "exact"),
        ((0, 0), 0.3, "+1"),
    ],
)
def test_the_contract_says_what_becomes_of_zeros(zeros, bias, said, tmp_path):
    model, x = contract(bias, *(Sign(zero=z) for z in zeros))
    net = bnn_compiler.compile(model, (x,), output=tmp_path / "net.bnn")
    assert net.manifest["contract"]["zero_activation"] == said
    assert net.manifest["format"] == 6
