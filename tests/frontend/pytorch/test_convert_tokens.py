"""Tokens through the importer and the passes: PyTorch's numbers, and what must be binary is."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import bnn_compiler
from tests.network import Function, anchors, assert_agrees, names


def sign(x):
    return torch.where(x >= 0, 1.0, -1.0)


class Binary(nn.Linear):
    def forward(self, x):
        scale = self.weight.abs().mean(1, keepdim=True)
        return F.linear(sign(x), sign(self.weight) * scale, self.bias)


def counts(function, layers, *inputs):
    """How many binary convolutions, products of signs and float convolutions there are."""
    torch.manual_seed(0)
    graph = assert_agrees(Function(function, *layers), *inputs)
    return tuple(len(anchors(graph, n)) for n in ("conv2d", "matmul", "float_conv2d"))


@pytest.mark.parametrize("features", [1, 3, 33, 100])
@pytest.mark.parametrize("shape", [(1, 7), (3, 1), (2, 2, 3, 2)])
def test_layers_of_tokens_are_binary(features, shape):
    layers = Binary(features, 2 * features + 1), Binary(2 * features + 1, features)
    x = torch.randn(*shape, features)
    assert counts(lambda m, x: m[1](F.gelu(m[0](x)) * 0.5) + x, layers, x) == (2, 0, 0)


def heads(x, count):
    return sign(x.unflatten(-1, (count, -1)).transpose(1, 2))


@pytest.mark.parametrize(("features", "count"), [(1, 1), (33, 3), (100, 2)])
@pytest.mark.parametrize("shape", [(1, 7), (3, 1)])
def test_attention_of_signs_is_binary(features, count, shape):
    def attention(m, x):
        q, k, v = (heads(layer(x), count) for layer in m)
        weights = torch.where(q @ k.transpose(-2, -1) * 0.3 + 0.1 > 0, 1.0, 0.0)
        return (weights @ v).transpose(1, 2).flatten(2)

    layers = [Binary(features, features) for _ in range(3)]
    assert counts(attention, layers, torch.randn(*shape, features)) == (3, 2, 0)


def test_images_are_tokens_and_tokens_images_without_a_move():
    def forward(m, x):
        y = m[0](x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        y = F.conv2d(sign(y), sign(m[1].weight), padding=1)
        rows = m[2](y.flatten(2).transpose(1, 2)).transpose(1, 2)
        return F.conv2d(sign(rows.reshape(2, 9, 5, 6)), sign(m[3].weight), padding=1)

    layers = Binary(24, 40), nn.Conv2d(40, 16, 3), Binary(16, 9), nn.Conv2d(9, 4, 3)
    x = torch.randn(2, 24, 5, 6)
    assert counts(forward, layers, x) == (4, 0, 0)
    graph = assert_agrees(Function(forward, *layers), x)
    assert "bnn.general" not in names(graph)
    assert "bnn.plain" not in names(graph)


def test_rows_of_an_image_stay_rows():
    def forward(m, x):
        y = m[1](m[0](x).transpose(1, 2))
        y = F.conv1d(sign(y), sign(m[2].weight), padding=1)
        return m[3](y.transpose(1, 2))

    layers = Binary(20, 7), nn.BatchNorm1d(7), nn.Conv1d(7, 6, 3), Binary(6, 5)
    assert counts(forward, layers, torch.randn(2, 5, 20)) == (3, 0, 0)


@pytest.mark.parametrize(
    "product",
    [
        lambda x, w: F.linear(x, w),
        lambda x, w: x @ w.t(),
        lambda x, w: (w @ x.transpose(1, 2)).transpose(1, 2),
        # As torch.einsum does it.
        lambda x, w: torch.bmm(x.reshape(1, -1, 20), w.t()[None]).view(2, 5, 7),
        lambda x, w: F.linear(x.reshape(-1, 20), w).view(2, 5, 7),
    ],
)
def test_a_layer_may_be_any_product_with_a_constant(product):
    weights = torch.where(torch.randn(7, 20) > 0, 0.5, -0.5)
    assert counts(lambda m, x: product(sign(x), weights), (), torch.randn(2, 5, 20)) == (1, 0, 0)


def test_a_convolution_of_pixels_may_be_a_product():
    weights = torch.where(torch.randn(7, 20) > 0, 0.5, -0.5)

    def forward(m, x):
        rows = sign(x).permute(0, 2, 3, 1).reshape(1, -1, 20)
        return torch.bmm(rows, weights.t()[None]).view(2, 5, 6, 7).permute(0, 3, 1, 2)

    assert counts(forward, (), torch.randn(2, 20, 5, 6)) == (1, 0, 0)


@pytest.mark.parametrize(
    "parts",
    [
        lambda x: x.chunk(3, -1),
        lambda x: x.view(2, 5, 3, 20).permute(2, 0, 1, 3).unbind(0),
        lambda x: (x[..., :20], x[..., 20:40], x[:, :, 40:]),
        lambda x: torch.split(x, 20, dim=2),
    ],
)
def test_signs_that_are_cut_stay_signs(parts):
    def forward(m, x):
        q, k, v = parts(sign(m[0](x)))
        return torch.where(q @ k.transpose(1, 2) > 3, 1.0, 0.0) @ v

    layers, x = [Binary(20, 60)], torch.randn(2, 5, 20)
    assert counts(forward, layers, x) == (1, 2, 0)


def test_cut_signs_are_compared(tmp_path):
    def forward(m, x):
        q, k, v = sign(m[0](x)).view(2, 5, 3, 20).permute(2, 0, 1, 3).unbind(0)
        return torch.where(q @ k.transpose(1, 2) > 3, 1.0, 0.0) @ v

    model, x = Function(forward, Binary(20, 60)), torch.randn(2, 5, 20)
    artifact = bnn_compiler.compile(model, (x,), output=tmp_path / "net.bnn")
    report = bnn_compiler.verify(artifact, model, [x])
    assert report.ok, report.text()
    assert sum(s.elements for s in report.signs) == 2 * 5 * (20 + 3 * 20) + 2 * 5 * 5


def test_float_layers_of_tokens_are_convolutions():
    layers = nn.Linear(20, 7), nn.Linear(7, 3)
    x = torch.randn(2, 5, 20)
    assert counts(lambda m, x: m[1](F.relu(m[0](x))), layers, x) == (0, 0, 2)


def test_slopes_of_the_second_dimension_are_no_features():
    slopes = torch.rand(5)
    forward = lambda m, x: F.prelu(m[0](x), slopes) * torch.linspace(1, 2, 7)  # noqa: E731
    assert counts(forward, [Binary(20, 7)], torch.randn(2, 5, 20)) == (1, 0, 0)


def test_constants_by_place_and_by_feature():
    place, feature = torch.randn(5, 7), torch.randn(7)
    forward = lambda m, x: (m[0](x) + place) * feature - 1.5  # noqa: E731
    assert counts(forward, [Binary(20, 7)], torch.randn(2, 5, 20)) == (1, 0, 0)


@pytest.mark.parametrize("join", [torch.cat, torch.concat])
def test_features_are_joined(join):
    def forward(m, x):
        y = m[0](x)
        return m[1](join((y, y, y), dim=-1)) + join([y, x[..., :4]], dim=2)[..., 3:]

    assert counts(forward, (Binary(20, 7), Binary(21, 8)), torch.randn(2, 5, 20)) == (2, 0, 0)
