import pytest
import torch
from torch import nn
from torch.nn import functional

import bnn_compiler
from bnn_compiler.errors import UnsupportedError
from bnn_compiler.nn import BinaryConv2d, BinaryLinear, Sign
from tests import network
from tests.network import Function, assert_agrees, fused, image


@pytest.mark.parametrize("mode", ["nearest", "nearest-exact", "bilinear"])
@pytest.mark.parametrize("factor", [0.5, 1.3, 2, (1.5, 0.7)])
def test_interpolate_by_a_factor(mode, factor):
    model = Function(lambda m, x: functional.interpolate(x, scale_factor=factor, mode=mode))
    assert_agrees(model, image(3, 9))


@pytest.mark.parametrize("size, factor", [(3, 1.3), (2, 2.01), (130, 1.006), (65, 2.0091781)])
def test_nearest_by_a_factor_that_keeps_or_doubles_the_size(size, factor):
    model = Function(lambda m, x: functional.interpolate(x, scale_factor=(factor, 1.0)))
    assert_agrees(model, torch.randn(1, 3, size, 2))


@pytest.mark.parametrize(
    "keywords",
    [
        {"size": (5, 13), "mode": "bilinear"},
        {"scale_factor": 1.7, "mode": "bilinear", "align_corners": True},
        {"scale_factor": 0.55, "mode": "bilinear", "recompute_scale_factor": True},
    ],
)
def test_interpolate_by_size_corners_and_quotient(keywords):
    assert_agrees(Function(lambda m, x: functional.interpolate(x, **keywords)), image(3, 9))


def test_compiled_resize_between_binary_layers(tmp_path):
    up = nn.Upsample(scale_factor=0.7, mode="bilinear")
    model = nn.Sequential(Sign(), BinaryConv2d(3, 8, 3), up, Sign(), BinaryConv2d(8, 4, 3))
    x = image(3, 12)
    artifact = bnn_compiler.compile(model.eval(), (x,), output=tmp_path / "n.bnn")
    assert bnn_compiler.verify(artifact, model, [x]).ok
    torch.testing.assert_close(artifact.run(x), model(x).detach(), rtol=1e-5, atol=1e-5)


def settled(layer):
    """A batch norm with statistics and gains of both signs."""
    nn.init.normal_(layer.weight)
    nn.init.normal_(layer.bias)
    nn.init.normal_(layer.running_mean)
    nn.init.uniform_(layer.running_var, 0.5, 2)
    return layer


def test_batch_norm_behind_flatten_in_front_of_a_binary_dense_layer(tmp_path):
    model = nn.Sequential(
        *(Sign(), BinaryConv2d(3, 5, 3), nn.Flatten(), settled(nn.BatchNorm1d(80))),
        *(Sign(), BinaryLinear(80, 7)),
    ).eval()
    x = image(3, 6, batch=2)
    artifact = bnn_compiler.compile(model, (x,), output=tmp_path / "n.bnn")
    assert bnn_compiler.verify(artifact, model, [x]).ok
    assert sum(s["binary"] for s in artifact.manifest["steps"]) == 2
    torch.testing.assert_close(artifact.run(x), model(x).detach(), rtol=1e-5, atol=1e-5)


def features(size=4 * 36):
    return nn.Parameter(torch.randn(size))


def test_per_feature_operators_behind_flatten():
    slopes, norm = nn.PReLU(144), settled(nn.BatchNorm1d(144))
    nn.init.normal_(slopes.weight)
    model = Function(
        lambda m, x: m[0](m[1](x.flatten(1)) * m.scale) + x.flatten(1) / 2 - m[2](x.flatten(1)),
        *(slopes, norm, nn.Linear(144, 144)),
    )
    model.layers.scale = features()
    assert_agrees(model, image(4, batch=2))


def test_concat_of_flat_maps_and_vectors():
    model = Function(
        lambda m, x: torch.cat((x.flatten(1), x.mean((2, 3)), 2 * x.flatten(1)), -1),
    )
    assert_agrees(model, image(4, batch=2))


@pytest.mark.parametrize("shape", [(2, 6, 6, 4), (8, 1, 6, 6), (2, 144), (1, 288), (72, 4)])
def test_views_keep_the_order_of_elements(shape):
    model = Function(lambda m, x: functional.relu(x).view(shape) + m.each)
    model.layers.each = nn.Parameter(torch.randn(shape[1], *[1] * (len(shape) - 2)))
    assert_agrees(model, image(4, batch=2))


def test_vector_to_image():
    model = Function(lambda m, x: m[1](m[0](x).view(2, 4, 6, 6)), nn.Linear(5, 144), nn.PReLU(4))
    assert_agrees(model, torch.randn(2, 5))


def zeros(x, channels):
    return torch.zeros(x.shape[0], channels, *x.shape[2:])


CHANNELS = {
    "leading": lambda x: x[:, :5],
    "last": lambda x: x[:, -4:],
    "middle": lambda x: x[:, 2:7],
    "narrow": lambda x: x.narrow(1, 3, 4),
    "all": lambda x: x[:, :9] + 1,
    "a vector's": lambda x: x.mean((2, 3))[:, 3:6],
    "features": lambda x: x.flatten(1)[:, 5:90],
    "twice": lambda x: torch.cat((x, x), 1),
    "repeated": lambda x: x.repeat(1, 3, 1, 1),
    "repeated and cut": lambda x: x.repeat(1, 3, 1, 1)[:, 4:23],
    "cut, repeated": lambda x: x[:, 2:7].repeat(1, 2, 1, 1),
    "cut twice": lambda x: x[:, 2:8][:, 1:4],
    "padded": lambda x: functional.pad(x, (0, 0, 0, 0, 2, 3)),
    "padded with a number": lambda x: functional.pad(x, (1, 0, 0, 2, 2, 3), value=-1.5),
    "padded and cut": lambda x: functional.pad(x, (0, 0, 0, 0, -2, 3)),
    "cut by padding": lambda x: functional.pad(x, (0, 0, 0, 0, -2, -1)),
    "with zeros": lambda x: torch.cat((x, zeros(x, 4)), 1),
    "between zeros": lambda x: torch.cat((zeros(x, 2), x, zeros(x, 4)), 1),
    "with zeros like it": lambda x: torch.cat((x, torch.zeros_like(x), x.new_ones(x.shape)), 1),
    "a vector and ones": lambda x: torch.cat((x.mean((2, 3)), torch.ones(x.shape[0], 4)), 1),
}


@pytest.mark.parametrize("name", CHANNELS)
def test_channels(name):
    assert_agrees(Function(lambda m, x: CHANNELS[name](x)), image(9, 9, batch=2))


OTHERS = {
    "transposed": lambda m, x: x.transpose(2, 3).reshape(x.shape),
    "three dimensions": lambda m, x: x.flatten(2),
    "squeezed batch": lambda m, x: x.mean((2, 3), keepdim=True).squeeze(),
    "cropped": lambda m, x: functional.pad(x, (-1, 0)),
    "reflected": lambda m, x: functional.pad(x, (1, 1, 1, 1), mode="reflect"),
    "padded batch": lambda m, x: functional.pad(x, (0, 0, 0, 0, 0, 0, 1, 1)),
    "rows cut": lambda m, x: x[:, :, 1:],
    "every second channel": lambda m, x: x[:, ::2],
    "rows repeated": lambda m, x: x.repeat(1, 2, 2, 1),
    "a constant of several values": lambda m, x: torch.cat(
        (x, torch.arange(81.0).view(1, 1, 9, 9)), 1
    ),
    "rows": lambda m, x: torch.cat((x, x), 2),
    "along the width": lambda m, x: x * torch.arange(9.0),
}


@pytest.mark.parametrize("name", OTHERS)
def test_what_is_no_image_of_channels(name):
    assert_agrees(Function(OTHERS[name]), network.image(9, 9))


REFUSED = {
    "no channel": (lambda m, x: x[:, 9:], "its result has no element"),
    "antialias": (
        lambda m, x: functional.interpolate(x, scale_factor=0.5, mode="bilinear", antialias=True),
        "_upsample_bilinear2d_aa",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_computed_is_refused(name):
    function, match = REFUSED[name]
    with pytest.raises(UnsupportedError, match=match):
        fused(Function(function), network.image(9, 9))
