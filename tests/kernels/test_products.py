"""Functions and products of computed tensors in epilogues, compiled and verified."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import bnn_compiler
from bnn_compiler.nn import BinaryConv2d, Sign
from tests.kernels.test_shortcuts import compiled, settled


class Excited(nn.Module):
    """A binary layer with squeeze and excitation, a shortcut, and hard-swish behind."""

    def __init__(self, channels, gate):
        super().__init__()
        self.layer = nn.Sequential(
            Sign(), BinaryConv2d(channels, channels, 3, padding=1), nn.BatchNorm2d(channels)
        )
        self.squeeze = nn.Conv2d(channels, 6, 1)
        self.excite = nn.Conv2d(6, channels, 1)
        self.gate = gate

    def forward(self, x):
        y = self.layer(x)
        g = self.excite(F.relu(self.squeeze(F.adaptive_avg_pool2d(y, 1))))
        return F.hardswish(y * self.gate(g) + x)


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 20, 3, padding=1, stride=2)
        self.blocks = nn.Sequential(Excited(20, torch.sigmoid), Excited(20, F.hardsigmoid))
        self.head = nn.Sequential(nn.Linear(20, 18), nn.GELU(), nn.Linear(18, 5), nn.Softplus())

    def forward(self, x):
        return self.head(self.blocks(self.stem(x)).mean((2, 3)))


@pytest.mark.parametrize("target", ["native", "x86-64-v3"])
def test_squeeze_and_excitation(tmp_path, target):
    torch.manual_seed(0)
    model, x = settled(Network()), torch.randn(2, 3, 12, 14)
    steps = compiled(model, x, tmp_path, target=target)
    fused = [name for s in steps for name in s["fused"]]
    assert fused.count("product") == 2 and fused.count("hard swish") == 2
    assert {"sigmoid", "hard sigmoid", "gelu", "softplus"} <= set(fused)
    # Each gate is in the convolution before it; only the products and what follows are apart.
    assert sum(s["op"] == "map" for s in steps) <= 4


class Pairs(nn.Module):
    """Two tensors of one stem, some squeezed, and what ``join`` makes of them."""

    def __init__(self, join):
        super().__init__()
        self.whole, self.one = nn.Conv2d(3, 20, 3, padding=1), nn.Conv2d(3, 1, 1)
        self.join = join

    def forward(self, x):
        y, plane = self.whole(x), torch.sigmoid(self.one(x))
        return self.join(y, F.softplus(y.mean((2, 3), keepdim=True)) + 0.5, plane + 0.5)


JOINS = {
    "channels": lambda y, c, p: c * y + (y - c) / c,
    "planes": lambda y, c, p: torch.maximum(p, y) * torch.minimum(y, p) + (y + p) / p,
    "both": lambda y, c, p: y * p.mean((2, 3), keepdim=True) + p * y,
    "same": lambda y, c, p: torch.tanh(y) * (y * y) / (y.abs() + 1),
    "quotients": lambda y, c, p: c / (y.square() + 1) + 2 / (y.exp() + 1) + y.abs().pow(1.5),
    "others": lambda y, c, p: F.selu(y) + F.elu(y, 0.5) + torch.clamp_min(-y, 0).sqrt() + y.round(),
}


@pytest.mark.parametrize("name", JOINS)
def test_two_computed_tensors(tmp_path, name):
    torch.manual_seed(1)
    compiled(Pairs(JOINS[name]).eval(), torch.randn(1, 3, 6, 7), tmp_path)


def test_neither_tensor_is_whole(tmp_path):
    model, x = Pairs(lambda y, c, p: c * p).eval(), torch.randn(1, 3, 6, 7)
    net = bnn_compiler.compile(model, (x,), output=tmp_path / "n.bnn")
    assert bnn_compiler.verify(net, model, [x]).ok


class Signs(nn.Module):
    """A binary layer that reads the sign of a function's value."""

    def __init__(self, function):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 40, 3, padding=1), nn.BatchNorm2d(40))
        self.layer = nn.Sequential(Sign(), BinaryConv2d(40, 40, 3, padding=1))
        self.second = nn.Sequential(Sign(), BinaryConv2d(40, 8, 3, padding=1))
        self.function = function

    def forward(self, x):
        y = self.layer(self.function(self.stem(x)))
        return self.second(self.function(y * 0.125 + 0.017))


@pytest.mark.parametrize(
    "function",
    [
        F.hardswish,
        torch.round,
        lambda x: F.hardsigmoid(x) - 0.5,
        lambda x: 1 / x,
        lambda x: torch.sigmoid(x) - 0.5,
        lambda x: F.relu(x) * F.elu(x),
    ],
)
def test_signs_of_functions(tmp_path, function):
    # Exact zeros are met where a function is flat; infinities fill the lanes that no channel uses.
    torch.manual_seed(2)
    compiled(settled(Signs(function)), torch.randn(1, 3, 7, 6), tmp_path)
