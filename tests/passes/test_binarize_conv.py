import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from bnn_compiler.nn import BinaryConv2d, Sign
from bnn_compiler.ops.relax_ops import epilogue_of
from bnn_compiler.passes.binarize_conv import BinarizeConv
from tests.network import Applied, after, anchors, computed, image, names


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


def conv(weights, **options):
    return lambda x, *_: F.conv2d(x, weights.to(x.dtype), **options)


SIGNS = torch.where(torch.arange(8 * 4 * 9).reshape(8, 4, 3, 3) * 7 % 11 > 4, 1.0, -1.0)
TERNARY = SIGNS * (torch.arange(8 * 4 * 9).reshape(8, 4, 3, 3) % 3 != 0)
GROUPED = TERNARY[:, :2]
DEPTHWISE = SIGNS[:4, :1]
OTHERS = torch.where(SIGNS > 0, 0.5, 0.25)
FOUR = SIGNS * torch.where(torch.arange(9).reshape(3, 3) % 2 > 0, 0.5, 0.25)
WIDE = torch.cat([SIGNS[:, :, :2, :2]] * 2, 1)
DEAD = SIGNS * (torch.arange(8) != 3).reshape(8, 1, 1, 1)
FLOAT = nn.Conv2d(4, 4, 3, padding=1)


def pad(x, value):
    return F.pad(x, (1, 1, 1, 1), value=value)


@pytest.mark.parametrize(
    ("binary", "function"),
    [
        (2, lambda x, _: conv(SIGNS, padding=1)(torch.sign(x))),
        (1, lambda x, _: conv(SIGNS, padding=1)(torch.sign(F.relu(x)))),
        (1, lambda x, _: conv(SIGNS, padding=1, stride=2)(torch.sign(-F.relu6(x)))),
        (1, lambda x, _: conv(SIGNS)(pad(torch.sign(F.relu(x)), 1.0))),
        (1, lambda x, _: conv(SIGNS)(pad(torch.sign(F.relu(x)), -1.0))),
        (2, lambda x, _: conv(SIGNS)(torch.sign(pad(x, 0.0)))),
        (2, lambda x, _: conv(SIGNS)(torch.sign(pad(x, -0.5)))),
        (1, lambda x, f: conv(SIGNS)(torch.sign(pad(F.relu(f(x)), 0.0)))),
        (1, lambda x, _: conv(DEPTHWISE, groups=4, padding=1)(torch.sign(F.relu(x)))),
        (2, lambda x, _: conv(DEPTHWISE, groups=4, dilation=2)(torch.sign(x))),
        (1, lambda x, f: conv(SIGNS)(torch.sign(F.max_pool2d(F.relu(f(x)), 2)))),
        (
            2,
            lambda x, f: conv(torch.cat([SIGNS] * 2, 1))(
                torch.sign(torch.cat([F.relu(f(x)), x], 1))
            ),
        ),
        (2, lambda x, _: conv(TERNARY, padding=1)(torch.sign(F.relu(x)))),
        (4, lambda x, _: conv(TERNARY * 0.5, padding=1)(torch.sign(x))),
        (4, lambda x, _: conv(GROUPED, groups=2)(torch.sign(x))),
        (2, lambda x, _: conv(TERNARY)(torch.where(x > 0, 1.0, -1.0).to(x.dtype))),
        (2, lambda x, _: conv((SIGNS > 0) * 0.5)(torch.sign(F.relu(x)))),
        (4, lambda x, _: conv(OTHERS)(torch.sign(x))),
        (0, lambda x, _: conv(FOUR)(torch.sign(x))),
        (0, lambda x, _: torch.sign(F.relu(x))),
        (2, lambda x, _: conv(SIGNS)(F.max_pool2d(torch.sign(x), 2))),
        (0, lambda x, _: conv(SIGNS)(F.avg_pool2d(torch.sign(x), 2))),
        (1, lambda x, _: conv(DEAD)(torch.sign(F.relu(x)))),
        (3, lambda x, _: conv(WIDE)(torch.sign(conv(SIGNS)(torch.sign(F.relu(x)))))),
    ],
)
def test_zeros_are_exact(binary, function):
    x = image(4)
    x[x.abs() < 0.4] = 0
    graph, found, wanted = computed(Applied(function, FLOAT), x)
    np.testing.assert_array_equal(found, wanted)
    assert len(anchors(graph, "conv2d")) == binary


def test_a_sign_with_a_float_reader_keeps_its_zeros():
    def forward(x, float_conv):
        s = torch.sign(F.relu(x))
        return conv(SIGNS, padding=1)(s) + conv(FOUR, padding=1)(s)

    graph, found, wanted = computed(Applied(forward, FLOAT), image(4))
    np.testing.assert_array_equal(found, wanted)
    assert len(anchors(graph, "conv2d")) == 1


def test_zeros_of_signs_become_one_threshold_behind_batch_norm():
    bn = nn.BatchNorm2d(8)
    nn.init.normal_(bn.weight), nn.init.normal_(bn.bias)
    last = torch.where(torch.randn(4, 8, 1, 1) > 0, 1.0, -1.0)
    model = Applied(
        lambda x, bn: conv(last)(torch.sign(bn(conv(SIGNS, padding=1)(torch.sign(F.relu(x)))))), bn
    )
    graph, found, wanted = computed(model.eval(), image(4))
    np.testing.assert_array_equal(found, wanted)
    first, _ = anchors(graph, "conv2d")
    assert epilogue_of(first).steps == ()


def test_signs_that_cancel_stay_exactly_zero_behind_a_scale():
    """0.3 * (i + 3) is 0 for i = -3; 0.3 * i + 0.9 would be a residue in float32."""
    last = torch.where(torch.randn(4, 8, 1, 1) > 0, 1.0, -1.0)
    model = Applied(
        lambda x: conv(last)(torch.sign(0.3 * conv(SIGNS, padding=1)(torch.sign(F.relu(x)))))
    )
    _, found, wanted = computed(model, image(4))
    np.testing.assert_array_equal(found, wanted)
