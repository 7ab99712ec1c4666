"""Operators of networks that were quantised elsewhere have the bits that PyTorch's have."""

import pytest
import torch
import torch.ao.quantization.fx._decomposed
from torch import nn

from bnn_compiler.errors import ModelError, UnsupportedError
from bnn_compiler.network import Network
from bnn_compiler.ops import evaluate
from bnn_compiler.ops import relax_ops as ops
from bnn_compiler.options import DEFAULT

QD = torch.ops.quantized_decomposed


def q(x, scale=0.05, zero=18, low=-128, high=127, dtype=torch.int8):
    return QD.quantize_per_tensor(x, scale, zero, low, high, dtype)


def dq(x, scale=0.05, zero=18, low=-128, high=127, dtype=torch.int8):
    return QD.dequantize_per_tensor(x, scale, zero, low, high, dtype)


class Buffers(nn.Module):
    """The operators as QAT modules call them, with tensors for numbers."""

    def __init__(self, observes=0, on=1, fused=True):
        super().__init__()
        self.is_fused = fused
        numbers = {"observes": observes, "on": on, "low": -1.0, "high": 1.0, "scale": 0.04}
        for name, number in numbers.items():
            self.register_buffer(name, torch.tensor([number]))
        self.register_buffer("zero", torch.tensor([7], dtype=torch.int32))

    def forward(self, x):
        if not self.is_fused:
            return torch.fake_quantize_per_tensor_affine(x, self.scale, self.zero, -127, 127)
        state = self.observes, self.on, self.low, self.high, self.scale, self.zero
        return torch.fused_moving_avg_obs_fake_quant(x, *state, 0.01, 0, 255, 0, False)


CASES = {
    "pair": lambda x: dq(q(x)),
    "unsigned": lambda x: dq(q(x, 0.11, 100, 0, 255, torch.uint8), 0.11, 100, 0, 255, torch.uint8),
    "narrow": lambda x: dq(q(x, 0.3, 0, -7, 7), 0.3, 0, -7, 7),
    "pool between": lambda x: dq(torch.max_pool2d(q(x).float(), 2).to(torch.int8)),
    "reshape between": lambda x: dq(q(x).flatten(2).unsqueeze(-1)),
    "another inverse": lambda x: dq(q(x), 0.1, -3),
    "two inverses": lambda x: dq(q(x)) + torch.relu(dq(q(x))),
    "fake": lambda x: torch.fake_quantize_per_tensor_affine(x, 0.07, 11, 0, 127),
    "fake by tensors": Buffers(fused=False),
    "moving": Buffers(),
    "moving, off": nn.Sequential(Buffers(on=0), nn.ReLU()),
    "16 bits": lambda x: dq(
        q(x, 1e-4, 5, -32768, 32767, torch.int16), 1e-4, 5, -32768, 32767, torch.int16
    ),
}


class Call(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


def images():
    """Values that are halfway between levels too, and far beyond them."""
    x = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    x[0, 0] = torch.arange(-32, 32).reshape(8, 8) * 0.025
    x[0, 1, 0, :4] = torch.tensor([torch.inf, -torch.inf, 1e30, -0.0])
    return x


@pytest.mark.parametrize("name", CASES)
def test_bits_are_pytorchs(name):
    model, x = Call(CASES[name]).eval(), images()
    # The moving form makes its scale of the range that it holds.
    wanted = model(x)
    graph = Network.of(model, (x,)).fused(DEFAULT)
    found = evaluate.run(graph, [x.numpy()])[graph.outputs[0]]
    torch.testing.assert_close(
        torch.from_numpy(found).reshape(wanted.shape), wanted, rtol=1e-6, atol=1e-6
    )
    if "between" not in name and "another" not in name:
        assert torch.equal(torch.from_numpy(found).reshape(wanted.shape), wanted)


def test_a_level_is_where_a_kernel_ends():
    """So that verify sees what rounding decides."""
    graph = Network.of(Call(lambda x: dq(q(torch.relu(x) + 1)) * x).eval(), (images(),))
    steps = [ops.epilogue_of(c).steps for c in graph.fused(DEFAULT).values.values() if steps_of(c)]
    assert steps[0][-1].kind == "fake_quantize" and steps[1][-1].kind == "multiply"


def steps_of(call):
    return ops.anchor_name(call) and ops.epilogue_of(call).steps


def test_observers_have_to_be_off():
    with pytest.raises(ModelError, match="disable_observer"):
        Network.of(Buffers(observes=1).eval(), (images(),))


def test_rounding_decides_near_the_middle_of_two_levels():
    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 1, bias=False)

        def forward(self, x):
            return dq(q(self.conv(x)))

    model = Scaled().eval()
    with torch.no_grad():
        model.conv.weight.fill_(1 / 3)
    x = torch.full((1, 3, 2, 2), 0.05 * 2.2)
    # A sum whose rounding decides.
    x[..., 0, 0] = 0.05 * 2.5
    network = Network.of(model, (x,))
    name = next(n for n in network.imported.origins if n.startswith("_fake_quantize"))
    truth = network.imported.oracle.observe([x.numpy()], {name}).values[name]
    assert truth.ambiguous[..., 0, 0, :].all() and truth.ambiguous.sum() == 4
    assert truth.rounding == 0


def as_int8(x):
    return dq(x.to(torch.int8))


@pytest.mark.parametrize(
    "between",
    [
        lambda x: dq(q(x) + q(x, 0.1)),
        lambda x: dq(-q(x)),
        lambda x: dq(q(x) * 2),
        lambda x: as_int8(q(x).to(torch.int32) * 2),
        lambda x: dq(torch.flatten(q(x), 2) - 1),
    ],
)
def test_arithmetic_that_wraps_around_is_refused(between):
    with pytest.raises(UnsupportedError, match=r"int8 numbers between .* wrap around in PyTorch"):
        Network.of(Call(between), (torch.randn(1, 3, 4, 4),))


def test_wider_integers_do_not_wrap():
    def between(x):
        wide = q(x).to(torch.int32) + q(x, 0.1).to(torch.int32)
        return wide.to(torch.float32) * 0.05

    model, x = Call(between).eval(), 9 * torch.randn(1, 3, 4, 4)
    network = Network.of(model, (x,))
    graph = network.fused(DEFAULT)
    (output,) = graph.outputs
    found = evaluate.run(graph, [x.numpy()])[output]
    torch.testing.assert_close(torch.from_numpy(found).reshape(model(x).shape), model(x))
