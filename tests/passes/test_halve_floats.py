import numpy as np
import pytest
import torch
from torch import nn

from bnn_compiler import zoo
from bnn_compiler.ops import half
from tests.network import Applied, computed, names


def operators(model, *shape):
    """The operators of a network in half precision, whose values are near PyTorch's."""
    model, x = model.eval(), torch.randn(shape)
    zoo.randomize(model, x)
    graph, found, wanted = computed(model, x, allow_reorder=True, half=True)
    error = np.abs(found - wanted).max() / np.abs(wanted).max()
    assert error < half.ROUNDING
    return [n.removeprefix("bnn.") for n in names(graph)], error


def stem(kernel=7, channels=3, outputs=20, **options):
    return nn.Conv2d(channels, outputs, kernel, 2, kernel // 2, bias=False, **options)


def test_the_pool_behind_the_first_convolution_is_in_it():
    model = nn.Sequential(
        stem(), nn.BatchNorm2d(20), nn.ReLU(), nn.MaxPool2d(3, 2, 1), nn.Conv2d(20, 24, 1)
    )
    found, error = operators(model, 2, 3, 24, 20)
    assert found == ["half_pooled_conv2d", "half_conv2d", "permute_dims"] and error > 2.0**-16


def test_without_a_pool_that_fits_it_stays_alone():
    for pool in (nn.MaxPool2d(5, 2, 2), nn.AvgPool2d(2), nn.Sequential(nn.Tanh(), nn.MaxPool2d(2))):
        found, _ = operators(nn.Sequential(stem(), nn.BatchNorm2d(20), pool), 1, 3, 16, 24)
        assert found[0] == "half_image_conv2d" and "half_pooled_conv2d" not in found

    def both(x, conv):
        y = conv(x)
        return nn.functional.max_pool2d(y, 2).mean() + y

    assert operators(Applied(both, stem()), 1, 3, 16, 24)[0][0] == "half_image_conv2d"


def test_images_of_many_channels_are_moved_first():
    assert operators(stem(channels=6), 1, 6, 16, 16)[0][:2] == ["permute_dims", "half_conv2d"]


@pytest.mark.parametrize(
    ("model", "shape"),
    [
        (nn.Conv2d(16, 32, 3, groups=2), (1, 16, 6, 6)),
        (nn.Conv2d(16, 4, 3), (1, 16, 6, 6)),
        (nn.Conv2d(3, 16, 1), (1, 3, 6, 6)),
    ],
    ids=["groups", "few outputs", "few products"],
)
def test_must_not_fire(model, shape):
    found, error = operators(model, *shape)
    assert "float_conv2d" in found and error < 1e-6


def test_weights_that_are_not_finite_stay():
    model = stem().eval()
    model.weight.data[3, 0, 0, 0] = float("inf")
    graph, _, _ = computed(model, torch.zeros(1, 3, 16, 16), allow_reorder=True, half=True)
    assert "bnn.float_conv2d" in names(graph)


def test_far_taps_of_an_image_are_read_where_it_is_moved_to():
    found, _ = operators(nn.Conv2d(3, 24, 3, dilation=9), 1, 3, 24, 24)
    assert "half_conv2d" in found
