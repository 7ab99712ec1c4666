"""Constant masks, of which torch.export does not say how much they keep."""

import pytest
import torch
from torch import nn

from bnn_compiler.errors import UnsupportedError
from bnn_compiler.nn import BinaryConv2d, Sign
from tests.network import anchors, assert_agrees, fused, image


class Pruned(nn.Module):
    """Some of the channels of a layer, by a mask of its own, and what they go to."""

    def __init__(self, head):
        super().__init__()
        self.stem, self.head = nn.Conv2d(3, 8, 3), head
        self.register_buffer("mask", torch.arange(8) % 3 > 0)

    def forward(self, x):
        return self.head(self.stem(x)[:, self.mask])


def test_channels_that_a_buffer_keeps_are_binary():
    torch.manual_seed(0)
    graph = assert_agrees(Pruned(nn.Sequential(Sign(), BinaryConv2d(5, 8, 3))), image(3))
    assert len(anchors(graph, "conv2d")) == 1


def test_what_is_behind_a_mask_keeps_its_place():
    class Bessel(nn.Module):
        def forward(self, x):
            return torch.special.bessel_j0(x)

    with pytest.raises(UnsupportedError, match=r"module 'head' \(.*test_masks.py"):
        fused(Pruned(Bessel()), image(3))
