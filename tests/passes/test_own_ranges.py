"""Scales that a network brings."""

import pytest
import torch
import torch.ao.quantization.fx._decomposed
from torch import nn

from bnn_compiler.network import Network
from bnn_compiler.options import DEFAULT
from bnn_compiler.passes.own_ranges import own_ranges
from bnn_compiler.passes.quantize_rest import has_levels, quantize

QD = torch.ops.quantized_decomposed


def level(x, scale=0.05, zero=18, low=-128, high=127, dtype=torch.int8):
    numbers = scale, zero, low, high, dtype
    return QD.dequantize_per_tensor(QD.quantize_per_tensor(x, *numbers), *numbers)


def rounded(layer, lowest=-127):
    """Its weights as 8 bits in each output channel."""
    with torch.no_grad():
        flat = layer.weight.flatten(1)
        scale = flat.abs().amax(1) / -lowest
        whole = (flat / scale[:, None]).round().clamp(lowest, 127)
        layer.weight.copy_((whole * scale[:, None]).reshape(layer.weight.shape))
    return layer


class Between(nn.Module):
    def __init__(self, layer, before=lambda x: x, numbers=()):
        super().__init__()
        self.layer, self.before, self.numbers = layer, before, numbers

    def forward(self, x):
        return self.layer(self.before(level(x, *self.numbers)))


def ranges(model, *shape):
    return own_ranges(Network.of(model.eval(), (torch.randn(shape),)).folded(DEFAULT))


@pytest.mark.parametrize(
    ("numbers", "zero"),
    [
        ((), 146),
        ((0.05, 0, -127, 127, torch.int8), 127),
        ((0.05, -128, -128, 127, torch.int8), 0),
        ((0.05, 255, 0, 255, torch.uint8), 255),
        ((0.05, 3, 0, 127, torch.uint8), 3),
    ],
)
def test_a_byte_for_each_level(numbers, zero):
    torch.manual_seed(0)
    found = ranges(Between(rounded(nn.Conv2d(3, 8, 3)), numbers=numbers), 1, 3, 5, 5)["layer"]
    assert found.zero == zero and found.step == pytest.approx(0.05, rel=1e-6)


@pytest.mark.parametrize(
    ("layer", "before", "shape"),
    [
        (nn.Conv2d(3, 8, 3), lambda x: torch.max_pool2d(x, 2), (1, 3, 8, 8)),
        (nn.Linear(48, 5), lambda x: x.flatten(1), (2, 3, 4, 4)),
        (nn.Linear(12, 5), lambda x: x, (2, 7, 12)),
        (nn.Linear(12, 5), lambda x: x.transpose(1, 2), (2, 12, 7)),
        (nn.Conv1d(4, 8, 3, padding=1), lambda x: x, (1, 4, 9)),
    ],
)
def test_behind_what_moves_levels(layer, before, shape):
    assert set(ranges(Between(rounded(layer), before), *shape)) == {"layer"}


@pytest.mark.parametrize(
    ("layer", "before", "numbers"),
    [
        # Weights in float; values between levels; more than 256 of them; 0 is no level.
        (nn.Conv2d(3, 8, 3), lambda x: x, ()),
        (rounded(nn.Conv2d(3, 8, 3)), lambda x: x * 0.3 + x.mean(), ()),
        (rounded(nn.Conv2d(3, 8, 3)), lambda x: x, (1e-4, 0, -32768, 32767, torch.int16)),
        (rounded(nn.Conv2d(3, 8, 3)), lambda x: x, (0.05, -130, -128, 127, torch.int8)),
    ],
)
def test_layers_without_scales_of_their_own(layer, before, numbers):
    assert ranges(Between(layer, before, numbers), 1, 3, 8, 8) == {}


@pytest.mark.parametrize("lowest", [-127, -128, -100, -7])
def test_weights_keep_their_steps(lowest):
    torch.manual_seed(1)
    layer = nn.Conv2d(16, 6, 3)
    with torch.no_grad():
        # The most negative weight is the largest.
        layer.weight[:, 0, 0, 0] = -1
    w = rounded(layer, lowest).weight.detach().numpy().transpose(0, 2, 3, 1)
    assert has_levels(w)
    found = quantize(w, 0.02, 3.0)
    back = found.weights * found.scale[:, None, None, None] / 0.02
    torch.testing.assert_close(torch.from_numpy(back), torch.from_numpy(w), rtol=1e-5, atol=1e-8)
    assert (found.weights.min() == -128) == (lowest == -128)


def test_weights_that_were_not_rounded():
    torch.manual_seed(0)
    assert not has_levels(nn.Conv2d(16, 6, 3).weight.detach().numpy())
