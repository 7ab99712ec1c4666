"""Zeros in front of torch.sign that are common, though nothing cuts at 0: related values cancel."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tests.network import Applied, assert_agrees

IMAGE = torch.randn(1, 8, 6, 6)


class Binary(nn.Conv2d):
    """A 1x1 convolution with the signs of its weights."""

    def __init__(self):
        super().__init__(8, 8, 1, bias=False)

    def forward(self, x):
        return F.conv2d(x, torch.sign(self.weight))


def laplacian(y):
    """y less its neighbours; the last node has none but itself."""
    ring = torch.eye(6).roll(1, 0) / 2 + torch.eye(6).roll(-1, 0) / 3
    ring[5] = torch.eye(6)[5]
    return y - ring @ y


CANCEL = {
    "a rectified copy": lambda y: y - F.relu(y),
    "its size": lambda y: y - y.abs(),
    "a local maximum": lambda y: y - F.max_pool2d(y, 3, 1, 1),
    "an exclusive prefix sum": lambda y: y.cumsum(1) - y,
    "a running product": lambda y: y - y.cumprod(3),
    "an isolated node": laplacian,
    # So steep that no value lies where rounding decides: PyTorch's with
    # AVX-512 is 0 from -5.49 on, its scalar one from -5.54.
    "a saturated GELU": lambda y: F.gelu(1e6 * y),
    "an ELU without a slope": lambda y: F.elu(y, alpha=0.0),
    "a literal of float32": lambda y: F.threshold(y, 0.05, 0.1) - 0.1,
}


@pytest.mark.parametrize("kind", CANCEL)
@pytest.mark.parametrize("signs", [False, True], ids=["of floats", "of signs"])
def test_zeros_of_related_values_are_zeros(kind, signs):
    def forward(x, conv, binary):
        y = conv(torch.sign(x) if signs else x)
        return binary(torch.sign(CANCEL[kind](y)))

    conv = nn.Conv2d(8, 8, 3, padding=1, bias=False)
    assert_agrees(Applied(forward, conv, Binary()).eval(), IMAGE)


def test_a_depthwise_convolution_of_nothing_is_zero():
    depthwise = nn.Conv2d(8, 8, 3, padding=1, bias=False, groups=8)
    flat = torch.randn(1, 8, 1, 1).expand(1, 8, 6, 6).contiguous()
    model = Applied(lambda x, d, b: b(torch.sign(d(F.relu(x)))), depthwise, Binary())
    assert_agrees(model.eval(), flat)


def test_whole_images_of_integers_add_up_to_zero():
    half = torch.ones(1, 4, 6, 6)
    balanced = torch.cat([half, -half], 1)

    def forward(x, binary):
        mean = torch.round(x).mean((1, 2, 3), keepdim=True)
        return binary(torch.sign(mean * torch.ones(1, 8, 6, 6)))

    assert_agrees(Applied(forward, Binary()).eval(), balanced)
