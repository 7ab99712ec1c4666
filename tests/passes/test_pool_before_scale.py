import pytest
import torch
from torch import nn
from torch.nn import functional as F

from bnn_compiler.passes.pool_before_scale import PoolBeforeScale
from tests.network import Applied, after, anchors, assert_agrees, image, names

CONV = nn.Conv2d(4, 8, 3)


def sign(x):
    return torch.where(x >= 0, 1.0, -1.0)


def with_zeros():
    x = image(4)
    x[x.abs() < 0.4] = 0
    return x


@pytest.mark.parametrize(
    "signs",
    [
        sign,
        torch.sign,
        lambda x: torch.where(x > 0, 1.0, -1.0),
        lambda x: (x > 0).float(),
        lambda x: 0.5 * sign(x) + 0.25,
        lambda x: sign(x - 0.3),
    ],
)
@pytest.mark.parametrize("padding", [0, 1])
def test_signs_stay_bits_behind_a_pool(signs, padding):
    def network(x, conv):
        return F.conv2d(F.max_pool2d(signs(x), 3, 2, padding), sign(conv.weight))

    graph = assert_agrees(Applied(network, nn.Conv2d(4, 8, 2)), with_zeros())
    assert anchors(graph, "conv2d") and not anchors(graph, "float_conv2d")


def test_the_pool_behind_a_binary_convolution_works_on_bits():
    def network(x, conv):
        y = F.conv2d(sign(x), sign(conv.weight))
        return F.conv2d(
            F.max_pool2d(sign(y), 2), sign(conv.weight[:, :1]).repeat(1, 8, 1, 1)[:, :, :2, :2]
        )

    graph = assert_agrees(Applied(network, CONV), with_zeros())
    assert "bnn.bits_max_pool2d" in names(graph)


@pytest.mark.parametrize(
    "network",
    [
        lambda x: F.max_pool2d(-sign(x), 2),
        lambda x: F.max_pool2d(x + 1, 2),
        lambda x: F.avg_pool2d(sign(x), 2),
    ],
)
def test_must_not_fire_on_what_falls_or_is_no_sign(network):
    before = names(after(Applied(network), image(4)))
    assert names(after(Applied(network), image(4), PoolBeforeScale())) == before
