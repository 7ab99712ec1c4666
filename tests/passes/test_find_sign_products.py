"""Products of computed tensors that take two numbers each."""

import pytest
import torch

from tests.author_style import where_sign as sign
from tests.network import Function, anchors, assert_agrees

X, Y = torch.randn(2, 3, 5, 8), torch.randn(2, 3, 8, 4)


def products(function, x=X, y=Y):
    """Binary products of a network of two inputs."""
    network = Function(lambda _, *inputs: function(*inputs))
    return len(anchors(assert_agrees(network, x, y), "matmul"))


ATTENTION = {
    "moved signs": lambda x: sign(x).flip(2),
    "above the row's mean": lambda x: (x > x.mean(-1, keepdim=True)).float(),
    "scaled": lambda x: 0.3 * torch.cat([sign(x[..., :3]), sign(x[..., 3:] - 0.5)], -1),
    "two masks": lambda x: ((x > 0) & (x < x.mean())).float() * 0.25,
}


@pytest.mark.parametrize("name", ATTENTION)
def test_two_numbers(name):
    assert products(lambda x, y: ATTENTION[name](x) @ (sign(y).roll(1, 3) * 0.5)) == 1


def test_transposed():
    assert products(lambda x, y: sign(x).flip(2) @ sign(x).flip(3).transpose(-1, -2)) == 1


def test_other_ranks():
    assert products(lambda x, y: sign(x).flip(0) @ sign(y).flip(0), X[0, 0], Y[0, 0]) == 1
    assert products(lambda x, y: sign(x).flip(0) @ sign(y).flip(0), X[0], Y[0]) == 1


def test_other_numbers_stay_float():
    assert products(lambda x, y: sign(x).flip(2) @ y) == 0
    assert products(lambda x, y: torch.where(x > x.mean(), 1.0, 0.5) @ sign(y)) == 0
    assert products(lambda x, y: sign(x).flip(2) @ sign(y)[:1].flip(2)) == 0
