import numpy as np
import pytest
import torch
from torch import nn

from bnn_compiler.nn import BinaryConv2d, Sign
from bnn_compiler.passes.binarize_conv import BinarizeConv
from bnn_compiler.passes.weights import split_weights
from tests.network import after, anchors, image, names


def test_scaled_signs_become_a_binary_convolution_and_an_affine():
    graph = after(nn.Sequential(Sign(), BinaryConv2d(5, 8, 3, padding=1)), image(5), BinarizeConv())
    assert names(graph) == [
        "permute_dims",
        "bnn.map",
        "bnn.conv2d",
        "bnn.affine",
        "permute_dims",
    ]


def test_unit_weights_need_no_affine():
    model = nn.Sequential(Sign(), BinaryConv2d(5, 8, 3, scale=False))
    assert "bnn.affine" not in names(after(model, image(5), BinarizeConv()))


@pytest.mark.parametrize("value", [-1, 0, 1])
def test_padding_value_is_kept(value):
    model = nn.Sequential(Sign(), BinaryConv2d(5, 8, 3, padding=1, pad_value=value))
    (conv,) = anchors(after(model, image(5), BinarizeConv()), "conv2d")
    assert int(conv.attrs["pad_value"]) == value
    assert [int(v) for v in conv.attrs["padding"]] == [1, 1, 1, 1]


def test_must_not_fire_on_real_weights_or_real_inputs():
    real_weights = nn.Sequential(Sign(), nn.Conv2d(5, 8, 3))
    real_inputs = BinaryConv2d(5, 8, 3)
    for model in (real_weights, real_inputs):
        assert "bnn.conv2d" not in names(after(model, image(5), BinarizeConv()))


def test_split_weights():
    w = np.array([[[[0.5, -0.5, 0.5]]], [[[2.0, 2.0, -2.0]]]], np.float32)
    found = split_weights(w)
    np.testing.assert_array_equal(found.scale, [0.5, 2.0])
    np.testing.assert_array_equal(found.signs, np.sign(w))
    assert split_weights(w + np.float32(0.1)) is None
    assert split_weights(torch.zeros(1, 1, 1, 2).numpy()).scale == 0
