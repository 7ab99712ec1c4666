import pytest
import torch
from torch import nn
from torch.nn import functional

from bnn_compiler.errors import UnsupportedError
from tests.network import Function, assert_agrees, fused, image

RANDOM = {
    "rand": lambda m, x: x + torch.rand(1, 3, 1, 1),
    "randn_like": lambda m, x: x + torch.randn_like(x),
    "randint": lambda m, x: x + torch.randint(0, 3, (3, 1, 1)),
    "normal": lambda m, x: x + torch.normal(0.0, 1.0, (3, 1, 1)),
    "bernoulli": lambda m, x: x * torch.bernoulli(torch.full((3, 1, 1), 0.5)),
    "multinomial": lambda m, x: x + torch.multinomial(torch.ones(3), 1),
    "uniform": lambda m, x: x + torch.zeros(3, 1, 1).uniform_(),
    "dropout": lambda m, x: functional.dropout(x, training=True),
    "rrelu": lambda m, x: functional.rrelu(x, training=True),
}


@pytest.mark.parametrize("name", RANDOM)
def test_random_numbers_are_refused_by_name_and_module(name):
    model = nn.Sequential(nn.ReLU(), Function(RANDOM[name]))
    said = rf"{name}.*module '1' \(.*\.py:\d+\) draws random numbers"
    with pytest.raises(UnsupportedError, match=said):
        fused(model, image(3))


def test_uninitialised_memory_is_refused():
    with pytest.raises(UnsupportedError, match=r"empty.*undefined values"):
        fused(Function(lambda m, x: x + torch.empty(3, 1, 1)), image(3))


PURE = {
    "dropout outside training": lambda m, x: functional.dropout2d(
        functional.alpha_dropout(m[0](x), training=False), training=False
    ),
    "filled memory": lambda m, x: x + torch.empty(3, 1, 1).fill_(2.0),
    "random numbers nobody reads": lambda m, x: (torch.rand(3), x + 1)[1],
}


@pytest.mark.parametrize("name", PURE)
def test_pure_networks_compile(name):
    assert_agrees(Function(PURE[name], nn.Dropout()), image(3))


def test_compiling_draws_no_random_numbers():
    model, x = Function(PURE["random numbers nobody reads"]), image(3)
    state = torch.get_rng_state()
    fused(model, x)
    assert torch.equal(state, torch.get_rng_state())
