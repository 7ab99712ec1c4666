"""Layers with weights of signs that run in float are named."""

import logging

import torch
import torch.nn.functional as F
from torch import nn

import bnn_compiler
from bnn_compiler.passes.left_in_float import left_in_float
from tests import network
from tests.author_style import where_sign


class Signed(nn.Conv2d):
    """Weights of signs, a scale per channel, and an input that is as it comes."""

    def forward(self, x):
        scale = self.weight.abs().mean((1, 2, 3), keepdim=True)
        return F.conv2d(x, where_sign(self.weight) * scale, None, 1, 1)


def lines(*layers):
    return left_in_float(network.fused(nn.Sequential(*layers), torch.randn(1, 3, 8, 8)))


def test_each_is_named_with_the_reason():
    first, second = lines(Signed(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), Signed(8, 4, 3))
    assert "it reads the image" in first and "is no sign" in second
    assert first.split(":")[0] != second.split(":")[0]


def test_a_layer_of_signs_with_other_weights_is_named():
    class Reads(nn.Conv2d):
        def forward(self, x):
            return super().forward(where_sign(x))

    (line,) = lines(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), Reads(8, 4, 1))
    assert "its input is a sign, but its weights take more than a few values" in line


def test_a_plain_value_that_is_turned_is_no_image():
    class Turned(nn.Module):
        def forward(self, x):
            return x.transpose(2, 3).abs()

    (line,) = lines(nn.Conv2d(3, 8, 3), Turned(), Signed(8, 4, 3))
    assert "is no sign" in line


def test_a_plain_layer_is_not():
    assert lines(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 1)) == []


def test_a_binary_layer_and_a_mean_filter_are_not():
    class Blurred(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem, self.layer = nn.Conv2d(3, 8, 3), Signed(8, 8, 3)

        def forward(self, x):
            y = self.layer(where_sign(self.stem(x)))
            return F.conv2d(y, torch.full((8, 1, 3, 3), 1 / 9), groups=8)

    assert lines(Blurred()) == []


def test_compile_warns(tmp_path, caplog):
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), Signed(8, 4, 3)).eval()
    with caplog.at_level(logging.WARNING):
        bnn_compiler.compile(model, (torch.randn(1, 3, 8, 8),), output=tmp_path / "n.bnn")
    assert sum("weights of two values" in r.getMessage() for r in caplog.records) == 1
