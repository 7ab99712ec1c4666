"""Float convolutions on bytes, in Relax."""

import numpy as np
import pytest
import torch
from torch import nn

from bnn_compiler.network import Network
from bnn_compiler.ops import evaluate
from bnn_compiler.ops import relax_ops as ops
from bnn_compiler.options import Options
from bnn_compiler.passes.byte_input import Normalization
from bnn_compiler.passes.quantize_rest import Range, candidates, quantize


@pytest.mark.parametrize(
    ("low", "high", "zero"),
    [(-1.0, 1.0, 128), (0.0, 4.0, 0), (0.5, 4.0, 0), (-3.0, 0.0, 255), (-3.0, -1.0, 255)],
)
def test_zero_is_a_byte(low, high, zero):
    found = Range("layer", low, high)
    assert found.zero == zero
    assert found.step == pytest.approx((max(high, 0) - min(low, 0)) / 255)


@pytest.mark.parametrize("width", [0.0, 1e-42, 1e-38, 3e38])
def test_steps_have_a_finite_reciprocal(width):
    found = Range("layer", 0.0, width)
    with np.errstate(over="raise"):
        assert 0 < np.float32(1 / found.step) < np.inf
    assert 0 <= found.zero <= 255


def test_weights_are_symmetric_in_each_channel():
    rng = np.random.default_rng(0)
    w = (rng.normal(size=(6, 3, 3, 5)) * 10.0 ** np.arange(-3, 3)[:, None, None, None]).astype(
        np.float32
    )
    w[2] = 0
    q = quantize(w, 0.02, 7.0)
    assert q.weights.dtype == np.int8 and np.abs(q.weights).max(axis=(1, 2, 3)).tolist() == [
        127,
        127,
        0,
        127,
        127,
        127,
    ]
    back = q.weights * q.scale.astype(np.float64)[:, None, None, None] / 0.02
    step = np.abs(w).max(axis=(1, 2, 3), keepdims=True) / 127
    assert (np.abs(back - w) <= 0.51 * step + 1e-12).all()
    # Bytes of 7 are 0 everywhere: the sum and the taps' bias cancel.
    total = 7 * q.weights.astype(np.float64).sum(axis=(1, 2, 3)) * q.scale
    np.testing.assert_allclose(total + q.bias.sum(axis=(1, 2)), 0, atol=1e-9 * np.abs(total).max())


class Two(nn.Module):
    """Two layers on one value, and one that reads the image."""

    def __init__(self, groups=1):
        super().__init__()
        self.first = nn.Conv2d(4, 16, 3, padding=1, groups=groups)
        self.left, self.right = nn.Conv2d(16, 8, 1), nn.Conv2d(16, 8, 3, padding=1)

    def forward(self, x):
        y = torch.relu(self.first(x))
        return self.left(y) + self.right(y)


def fused(model, ranges, normalization=None):
    x = torch.rand(1, 4, 6, 5, generator=torch.Generator().manual_seed(0))
    network = Network.of(model.eval(), (x,))
    return network, network.fused(Options(normalization=normalization, int8=ranges)), x.numpy()


def calls(graph, name):
    return [v for v in graph.values.values() if ops.bnn_name(v) == name]


def test_one_value_is_quantised_once_where_ranges_are_equal():
    torch.manual_seed(0)
    ranges = [Range("left", 0, 2), Range("right", 0, 2)]
    _, graph, _ = fused(Two(), tuple(ranges))
    (first,) = calls(graph, "float_conv2d")
    # Nobody reads the float value.
    assert [str(o) for o in ops.epilogue_of(first).outputs] == ["bytes:1:2"]
    assert len(calls(graph, "int8_conv2d")) == 2
    _, graph, _ = fused(Two(), (ranges[0], Range("right", 0, 3)))
    (first,) = calls(graph, "float_conv2d")
    assert len(ops.epilogue_of(first).outputs) == 2


@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("as_bytes", [False, True])
def test_values_are_near_the_float_network(groups, as_bytes):
    torch.manual_seed(groups)
    model = Two(groups)
    normalization = Normalization((0.1, 0.5, 0.3, 0.2), (0.5, 0.1, 0.3, 0.7)) if as_bytes else None
    ranges = (Range("first", -5, 9), Range("left", 0, 6), Range("right", 0, 6))
    network, graph, x = fused(model, ranges, normalization)
    assert candidates(network.folded(Options())).keys() == {"first", "left", "right"}
    if as_bytes:
        given = np.random.default_rng(0).integers(0, 256, x.shape, np.uint8)
        x = normalization.apply(given)
        assert not calls(graph, "image_bytes")
    else:
        given = x
        assert len(calls(graph, "image_bytes")) == 1
    values = evaluate.run(graph, [given])
    found = values[graph.outputs[0]]
    with torch.no_grad():
        wanted = model(torch.from_numpy(x)).numpy()
    error = np.sqrt(((found - wanted) ** 2).mean() / (wanted**2).mean())
    assert 0 < error < 0.05


def test_what_cannot_be_summed_or_has_no_finite_weights_is_no_candidate():
    model = Two().eval()
    with torch.no_grad():
        model.left.weight[0, 0] = torch.inf
    network = Network.of(model, (torch.rand(1, 4, 6, 5),))
    assert candidates(network.folded(Options())).keys() == {"first", "right"}
