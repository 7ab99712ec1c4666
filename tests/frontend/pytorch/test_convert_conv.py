"""Convolutions and pools of every form; binary ones stay binary."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import bnn_compiler
from tests.network import anchors, assert_agrees


def sign(x):
    return torch.where(x >= 0, 1.0, -1.0)


class Layer(nn.Module):
    """``function`` of an image and of weights, behind a float layer."""

    def __init__(self, function, weight, rows=False):
        super().__init__()
        self.function = function
        self.weight = nn.Parameter(torch.randn(weight))
        self.stem = (nn.Conv1d if rows else nn.Conv2d)(3, 16, 3, padding=1)

    def forward(self, x):
        return self.function(self.stem(x), self.weight)


def compiled(model, x, path):
    net = bnn_compiler.compile(model.eval(), (x,), output=path / "n.bnn")
    torch.testing.assert_close(torch.as_tensor(net.run(x)), model(x).detach(), atol=1e-4, rtol=1e-4)
    return sum(step["binary"] for step in net.manifest["steps"])


TRANSPOSED = {
    "k4 s2 p1": ((16, 8, 4, 4), {"stride": 2, "padding": 1}),
    "k3 s2 p1 o1": ((16, 8, 3, 3), {"stride": 2, "padding": 1, "output_padding": 1}),
    "k2 s2": ((16, 33, 2, 2), {"stride": 2}),
    "k3 s1 p1": ((16, 8, 3, 3), {"padding": 1}),
    "odd, k3 s2 p1": ((16, 8, 3, 3), {"stride": 2, "padding": 1}),
    "odd, k3 s2": ((16, 8, 3, 3), {"stride": 2}),
    "grouped": ((16, 3, 4, 4), {"stride": 2, "padding": 1, "groups": 4}),
}


@pytest.mark.parametrize("name", TRANSPOSED)
def test_binary_transposed_convolutions_are_binary(name, tmp_path):
    weight, options = TRANSPOSED[name]
    model = Layer(lambda x, w: F.conv_transpose2d(sign(x), sign(w), **options), weight)
    phases = options.get("stride", 1) ** 2
    assert compiled(model, torch.randn(2, 3, 5, 7), tmp_path) == phases


@pytest.mark.parametrize(
    ("weight", "options"),
    [
        ((16, 8, 3, 3), {"stride": 2}),
        ((16, 8, 3, 3), {"stride": 3, "dilation": 2, "padding": 1}),
        ((16, 2, 2, 2), {"stride": 3, "groups": 2}),
        ((16, 8, 5, 5), {"stride": (1, 2), "padding": 2}),
    ],
)
def test_other_transposed_convolutions(weight, options, tmp_path):
    model = Layer(lambda x, w: F.conv_transpose2d(x, w, **options), weight)
    assert compiled(model, torch.randn(1, 3, 5, 4), tmp_path) == 0


#: Weight, options, and how many of its phases have taps: each is a binary convolution.
PHASES = {
    "dilated by its stride": ((16, 8, 3, 3), {"stride": 2, "dilation": 2, "padding": 1}, 1),
    "dilated": ((16, 8, 3, 3), {"stride": 2, "dilation": 3, "padding": 1, "output_padding": 1}, 4),
    "dilated, grouped": ((16, 3, 3, 2), {"stride": (1, 2), "dilation": (2, 1), "groups": 4}, 2),
    "kernel below stride": ((16, 8, 2, 2), {"stride": 3, "output_padding": 1}, 4),
    "padded beyond its kernel": ((16, 8, 3, 3), {"stride": 2, "padding": 4}, 4),
    "padded beyond its kernel, stride of 1": ((16, 8, 2, 2), {"padding": 2}, 1),
}


@pytest.mark.parametrize("name", PHASES)
def test_phases_of_transposed_convolutions_are_binary(name):
    weight, options, count = PHASES[name]
    model = Layer(lambda x, w: F.conv_transpose2d(sign(x), sign(w), **options), weight)
    graph = assert_agrees(model, torch.randn(2, 3, 5, 7))
    assert len(anchors(graph, "conv2d")) == count


def test_a_transposed_convolution_of_rows_is_binary():
    options = {"stride": 2, "dilation": 3, "padding": 4}
    model = Layer(lambda x, w: F.conv_transpose1d(sign(x), sign(w), **options), (16, 8, 3), True)
    graph = assert_agrees(model, torch.randn(2, 3, 9))
    assert len(anchors(graph, "conv2d")) == 2


def test_rows_are_binary_too(tmp_path):
    """Convolution, batch norm, shortcut, pools and padding of [N, C, L]."""

    class Rows(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem, self.norm = nn.Conv1d(3, 32, 5, 2, 2), nn.BatchNorm1d(32)
            self.weights = nn.ParameterList(torch.randn(32, 32, 3) for _ in range(2))
            self.act, self.fc = nn.PReLU(32), nn.Linear(32, 5)

        def forward(self, x):
            x = F.max_pool1d(self.norm(self.stem(x)), 2)
            for w in self.weights:
                x = self.act(self.norm(F.conv1d(sign(x), sign(w), padding=1)) + x)
            return self.fc(F.avg_pool1d(x, 3).mean(-1))

    assert compiled(Rows(), torch.randn(2, 3, 49), tmp_path) == 2


POOLS = {
    "ceil max": lambda x, _: F.max_pool2d(x, 3, 2, ceil_mode=True),
    "ceil max, padded": lambda x, _: F.max_pool2d(x, 3, 2, 1, ceil_mode=True),
    "ceil average": lambda x, _: F.avg_pool2d(x, 3, 2, ceil_mode=True),
    "ceil average, padded": lambda x, _: F.avg_pool2d(x, 3, 2, 1, ceil_mode=True),
    "ceil average, padding not counted": lambda x, _: F.avg_pool2d(x, 3, 2, 1, True, False),
    "divisor": lambda x, _: F.avg_pool2d(x, 2, divisor_override=3),
    "adaptive, even": lambda x, _: F.adaptive_avg_pool2d(x, (4, 3)),
    "adaptive, uneven": lambda x, _: F.adaptive_avg_pool2d(x, (3, 7)),
    "adaptive max": lambda x, _: F.adaptive_max_pool2d(x, (3, 2)),
    "global max": lambda x, _: x.amax((2, 3)),
    "largest of all": lambda x, _: F.adaptive_max_pool2d(x, 1).flatten(1),
}


@pytest.mark.parametrize("name", POOLS)
def test_pools(name, tmp_path):
    compiled(Layer(POOLS[name], (1,)), torch.randn(2, 3, 8, 9), tmp_path)


def test_three_dimensions_are_one_clear_error(tmp_path):
    model, x = nn.Conv3d(1, 2, 3), torch.randn(1, 1, 5, 5, 5)
    with pytest.raises(bnn_compiler.errors.UnsupportedError, match="apply a conv2d to each frame"):
        bnn_compiler.compile(model.eval(), (x,), output=tmp_path / "n.bnn")
