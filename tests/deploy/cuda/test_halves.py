"""A network in half precision, run on the stub driver and verified there."""

import shutil

import pytest
import torch
from torch import nn

from bnn_compiler import zoo
from bnn_compiler.nn import BinaryConv2d, Sign
from tests.deploy.cuda import stub


class Network(nn.Module):
    """A pooled first convolution, shortcuts in halves, one by another convolution, a classifier."""

    def __init__(self):
        super().__init__()
        self.first = nn.Sequential(
            nn.Conv2d(3, 24, 7, 2, 3, bias=False),
            nn.BatchNorm2d(24),
            nn.ReLU(),
            nn.MaxPool2d(3, 2, 1),
        )
        self.norm = nn.BatchNorm2d(24)
        self.same = nn.Sequential(Sign(), BinaryConv2d(24, 24, 3, padding=1), nn.BatchNorm2d(24))
        self.binary = nn.Sequential(
            Sign(), BinaryConv2d(24, 40, 3, stride=2, padding=1), nn.BatchNorm2d(40)
        )
        self.shortcut = nn.Sequential(
            nn.AvgPool2d(2), nn.Conv2d(24, 40, 1, bias=False), nn.BatchNorm2d(40)
        )
        self.last = nn.Linear(40, 10)

    def forward(self, x):
        x = self.norm(self.first(x))
        x = x + self.same(x)
        return self.last((self.binary(x) + self.shortcut(x)).mean((2, 3)))


@pytest.mark.skipif(shutil.which("c++") is None, reason="emulation needs a C++ compiler: g++")
def test_a_network_is_verified(tmp_path):
    torch.manual_seed(0)
    model, x = Network(), torch.randn(2, 3, 32, 32)
    zoo.randomize(model, x)
    built = stub.build(tmp_path / "net", model, (x,), real=True, allow_reorder=True)
    torch.export.save(torch.export.export(model.eval(), (x,)), built.folder / "net.pt2")
    said = stub.play(stub.driver(tmp_path / "driver"), built, "halves")
    assert "half precision: " in said and "in 3 layers; from float32: " in said
    assert "0 without the bits of their meaning" in said and "WRONG" not in said
