"""Shortcuts between any channel counts, compiled and verified; channels moved on their own."""

from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import bnn_compiler
from bnn_compiler.nn import BinaryConv2d, RPReLU, RSign, Shortcut, Sign


def padded(x, y):
    return F.pad(x, (0, 0, 0, 0, 0, y.shape[1] - x.shape[1])) + y


class Joined(nn.Module):
    """Binary layers of these channels, with a shortcut around each; then ``tail``."""

    def __init__(self, join, channels, strides=(), tail=lambda x: x):
        super().__init__()
        self.stem = nn.Conv2d(3, channels[0], 3, padding=1)
        self.tail, self.layers, self.joins = tail, nn.ModuleList(), []
        for i, (a, b) in enumerate(pairwise(channels)):
            stride = 2 if i in strides else 1
            conv = BinaryConv2d(a, b, 3, stride=stride, padding=1)
            self.layers.append(nn.Sequential(RSign(a), conv, nn.BatchNorm2d(b)))
            self.layers.append(RPReLU(b))
            self.joins.append(join or Shortcut(stride))

    def forward(self, x):
        x = self.stem(x)
        for i, join in enumerate(self.joins):
            x = self.layers[2 * i + 1](join(x, self.layers[2 * i](x)))
        return self.tail(x)


def settled(model):
    for module in model.modules():
        for p in module.parameters(recurse=False):
            if p.dim() != 4 or p.shape[0] == 1:
                p.data += 0.3 * torch.randn_like(p)
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    return model.eval()


def compiled(model, x, tmp_path, **options):
    """The steps of a network that is what PyTorch computes, by every layer."""
    artifact = bnn_compiler.compile(model, (x,), output=tmp_path / "n.bnn", check=False, **options)
    assert bnn_compiler.verify(artifact, model, [x]).ok
    torch.testing.assert_close(artifact.run(x), model(x).detach(), rtol=1e-4, atol=1e-4)
    return artifact.manifest["steps"]


@pytest.mark.parametrize("target", ["native", "x86-64-v3"])
def test_between_any_counts(tmp_path, target):
    torch.manual_seed(0)
    model = settled(Joined(None, (20, 33, 70, 24, 24, 16, 32, 5), strides=(1, 5)))
    steps = compiled(model, torch.randn(2, 3, 12, 12), tmp_path, target=target)
    fused = [s["fused"][1] for s in steps if s["binary"]]
    tiled, both = "tiled shortcut", "pooled, tiled shortcut"
    assert fused == [tiled, both, "shortcut", "shortcut", "shortcut", both, "shortcut"]
    assert {s["op"] for s in steps} == {
        "bnn.to_nhwc",
        "bnn.float_conv2d",
        "bnn.conv2d",
        "bnn.to_nchw",
    }


def test_padded_with_zeros(tmp_path):
    torch.manual_seed(0)
    model = settled(Joined(padded, (20, 33, 50, 16, 48)))
    steps = compiled(model, torch.randn(1, 3, 7, 7), tmp_path)
    fused = [s["fused"][1] for s in steps if s["binary"]]
    assert fused == ["padded shortcut", "padded shortcut", "shortcut", "padded shortcut"]


TAILS = {
    "leading": lambda x: x[:, :17],
    "whole vectors": lambda x: x[:, 16:32],
    "from 5 on": lambda x: x[:, 5:38],
    "in turn": lambda x: x.repeat(1, 2, 1, 1)[:, 30:60],
    "between numbers": lambda x: F.pad(x, (0, 0, 0, 0, 3, 18), value=2.5),
}


@pytest.mark.parametrize("name", TAILS)
def test_channels_on_their_own(tmp_path, name):
    torch.manual_seed(0)
    model = settled(Joined(None, (20, 40), tail=TAILS[name]))
    steps = compiled(model, torch.randn(2, 3, 6, 6), tmp_path)
    assert {"bnn.tile", "bnn.pad_channels"} & {s["op"] for s in steps}


class OfSigns(nn.Module):
    """Some of a sign's channels, for a binary layer."""

    def __init__(self):
        super().__init__()
        self.first, self.sign = nn.Conv2d(3, 40, 1), Sign()
        self.norm, self.second = nn.BatchNorm2d(23), BinaryConv2d(35, 23, 3, padding=1)

    def forward(self, x):
        return self.norm(self.second(self.sign(self.first(x))[:, 3:38]))


def test_channels_of_signs(tmp_path):
    torch.manual_seed(0)
    steps = compiled(settled(OfSigns()), torch.randn(1, 3, 6, 6), tmp_path)
    assert "bnn.tile" in {s["op"] for s in steps}
