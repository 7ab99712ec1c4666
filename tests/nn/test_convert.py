import pytest
import torch
import torch.nn.functional as F
from torch import nn

import bnn_compiler
from bnn_compiler import zoo
from bnn_compiler.errors import ModelError
from bnn_compiler.nn import (
    BinaryConv2d,
    BinaryLinear,
    RPReLU,
    RSign,
    Sign,
    binary_weights,
    exact_signs,
    real_weights,
)


class Tiny(nn.Module):
    """A stem, two binary convolutions with shortcuts (the second padded with +1), a dense head."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16))
        self.convs = nn.ModuleList(
            BinaryConv2d(16, 16, 3, padding=1, pad_value=value) for value in (0, 1)
        )
        self.signs = nn.ModuleList(RSign(16) for _ in range(2))
        self.norms = nn.ModuleList(nn.BatchNorm2d(16) for _ in range(2))
        self.acts = nn.ModuleList(RPReLU(16) for _ in range(2))
        self.last = nn.Sequential(Sign(), BinaryLinear(16, 10), nn.BatchNorm1d(10))

    def forward(self, x):
        x = self.stem(x)
        for s, c, n, a in zip(self.signs, self.convs, self.norms, self.acts, strict=True):
            x = a(n(c(s(x))) + x)
        return self.last(x.mean((2, 3)))


@pytest.fixture
def model():
    torch.manual_seed(0)
    return Tiny()


def test_step_one_multiplies_with_the_weights_themselves(model):
    x = torch.where(torch.randn(2, 16, 5, 5) >= 0, 1.0, -1.0)
    converted = real_weights(model)
    torch.testing.assert_close(converted.convs[0](x), F.conv2d(x, model.convs[0].weight, padding=1))
    padded = F.pad(x, [1] * 4, value=1.0)
    torch.testing.assert_close(
        converted.convs[1](padded[:, :, 1:-1, 1:-1]), F.conv2d(padded, model.convs[1].weight)
    )
    converted.last[1](torch.ones(1, 16)).sum().backward()
    assert torch.equal(converted.last[1].weight.grad, torch.ones(10, 16))


def test_the_model_itself_is_left_alone(model):
    x = torch.randn(2, 3, 8, 8)
    before = model(x)
    for convert in (real_weights, exact_signs):
        changed = convert(model)
        with torch.no_grad():
            changed.stem[0].weight.zero_()
    assert torch.equal(model(x), before)


def test_step_two_gives_the_network_back(model):
    x = torch.randn(2, 3, 8, 8)
    assert torch.equal(binary_weights(real_weights(model))(x), model(x))
    assert not torch.equal(real_weights(model)(x), model(x))


def test_checkpoints_go_from_step_to_step(model):
    step1 = real_weights(Tiny())
    step1.load_state_dict(model.state_dict())
    step2 = Tiny()
    step2.load_state_dict(step1.state_dict())
    assert torch.equal(step2(torch.ones(2, 3, 8, 8)), model(torch.ones(2, 3, 8, 8)))


def test_exact_signs_are_frozen_ones(model):
    converted = exact_signs(real_weights(model))
    for conv, source in zip(converted.convs, model.convs, strict=True):
        assert torch.equal(conv.weight, torch.where(source.weight >= 0, 1.0, -1.0))
        assert torch.equal(conv.effective_weight(), conv.weight)
        assert not conv.weight.requires_grad
    assert model.convs[0].weight.requires_grad


@pytest.mark.parametrize("convert", [real_weights, binary_weights, exact_signs])
def test_a_network_without_binary_layers_is_refused(convert):
    with pytest.raises(ModelError, match="Linear has no binary layer"):
        convert(nn.Linear(2, 2))


@pytest.mark.parametrize("convert", [real_weights, binary_weights, exact_signs])
def test_every_step_compiles(convert, model, tmp_path):
    x = torch.randn(1, 3, 16, 16)
    changed = convert(model)
    zoo.randomize(changed, x)
    net = bnn_compiler.compile(changed, (x,), target="native", output=tmp_path / "net.bnn")
    assert bnn_compiler.verify(net, changed, [x]).ok
