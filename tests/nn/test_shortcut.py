"""Shortcuts between any channel counts."""

import pytest
import torch
import torch.nn.functional as F

from bnn_compiler.nn import Shortcut


@pytest.mark.parametrize(("inputs", "outputs"), [(6, 6), (6, 4), (6, 12), (4, 10), (1, 3)])
@pytest.mark.parametrize("stride", [1, 2])
def test_channels_in_turn(inputs, outputs, stride):
    x, y = torch.randn(2, inputs, 4, 4), torch.randn(2, outputs, 4 // stride, 4 // stride)
    pooled = F.avg_pool2d(x, stride)
    wanted = torch.stack([y[:, c] + pooled[:, c % inputs] for c in range(outputs)], 1)
    assert torch.equal(Shortcut(stride)(x, y), wanted)


def test_gradients_reach_every_channel_that_is_read():
    x, y = torch.randn(1, 3, 2, 2, requires_grad=True), torch.zeros(1, 7, 2, 2)
    Shortcut()(x, y).sum().backward()
    assert x.grad[0, :, 0, 0].tolist() == [3, 2, 2]
