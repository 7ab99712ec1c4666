import itertools

import pytest
import torch
from torch.nn import functional as F

from bnn_compiler.frontend.pytorch import simplify, trace
from bnn_compiler.frontend.pytorch.markers import sign
from bnn_compiler.frontend.pytorch.trace import interpreter, op_name
from tests.network import Applied

#: Every order of magnitude around the bounds below, and both zeros.
X = torch.tensor([-2, -1, -0.5, -0.1, -0.0, 0.0, 0.1, 0.5, 1, 2]).reshape(1, 10, 1, 1)

SIGNS = {
    1: lambda x: torch.where(x >= 0, 1.0, -1.0),
    0: torch.sign,
    -1: lambda x: torch.where(x > 0, 1.0, -1.0),
}
BOUNDS = [None, -0.5, 0, 0.5]


def simplified(function):
    """(names of the operators left, the zeros of the markers, result, PyTorch's result)."""
    model = Applied(function)
    traced = simplify.simplify(trace.trace(model, (X,)))
    (result,) = interpreter(traced).run(X)
    calls = [n for n in traced.graph.nodes if n.op == "call_function"]
    zeros = [n.args[1] for n in calls if n.target is sign]
    return [op_name(n) for n in calls], zeros, result, model(X)


@pytest.mark.parametrize("zero", SIGNS)
def test_a_clamp_in_front_of_a_sign_keeps_every_value(zero):
    dropped = []
    for low, high in itertools.product(BOUNDS, BOUNDS):
        if low is None and high is None:
            continue
        names, _, found, wanted = simplified(lambda x: SIGNS[zero](x.clamp(low, high)))  # noqa: B023
        torch.testing.assert_close(found, wanted, rtol=0, atol=0)
        if names == ["sign"]:
            dropped.append((low, high))
    around = [(None, 0.5), (-0.5, None), (-0.5, 0.5)]
    at_zero = {1: [(None, 0), (-0.5, 0)], 0: [], -1: [(0, None), (0, 0.5)]}[zero]
    assert set(dropped) == {*around, *at_zero}


@pytest.mark.parametrize("zero", SIGNS)
@pytest.mark.parametrize(
    "function",
    [
        F.relu,
        F.relu6,
        F.hardtanh,
        torch.tanh,
        F.softsign,
        lambda x: F.hardtanh(x, 0.0, 1.0),
        lambda x: F.hardtanh(x, 0.2, 1.0),
        lambda x: torch.clamp_min(x, 0.1),
        lambda x: torch.clamp_max(x, -0.1),
        lambda x: torch.clamp(x, max=-0.1),
        lambda x: torch.clamp(x, min=torch.tensor(0.1)),
        lambda x: torch.clamp(x, torch.tensor(-0.1), torch.tensor(0.1)),
        lambda x: F.relu(F.hardtanh(x) - 0.5),
    ],
)
def test_what_stands_in_front_of_a_sign_keeps_every_value(function, zero):
    _, _, found, wanted = simplified(lambda x: SIGNS[zero](function(x)))
    torch.testing.assert_close(found, wanted, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("zeros", "function"),
    [
        ([1], lambda x: torch.sign(torch.sign(x) + 0.5)),
        ([-1], lambda x: torch.sign(torch.sign(x) - 0.5)),
        ([1], lambda x: torch.sign(torch.sign(x) + 1)),
        ([0], lambda x: torch.sign(torch.sign(x) - 1.5)),
        ([1], lambda x: torch.sign(SIGNS[1](x) - 0.5)),
        ([-1], lambda x: torch.sign(SIGNS[-1](x) + 0.5)),
        ([-1], lambda x: torch.sign(torch.add(torch.sign(x), 0.5, alpha=-1))),
        ([0], lambda x: -torch.sign(-x)),
        ([1], lambda x: torch.where(x < 0, -1.0, 1.0)),
        ([-1], lambda x: torch.where(x <= 0, -1.0, 1.0)),
        ([1], lambda x: torch.where(x >= 0, -1.0, 1.0)),
        ([], lambda x: torch.where(x >= 0, 1.0, 1.0)),
        ([1], lambda x: torch.where(x >= 0.25, 1.0, -1.0)),
        ([1], lambda x: 2 * (x >= 0).float() - 1),
        ([-1], lambda x: (x > 0).float() * 2 - 1),
        ([1], lambda x: ((x >= 0).to(torch.uint8) * 2 - 1).float()),
        ([1], lambda x: 2 * (x < 0).float() - 1),
    ],
)
def test_spellings(zeros, function):
    _, found_zeros, found, wanted = simplified(function)
    assert found_zeros == zeros
    torch.testing.assert_close(found, wanted, rtol=0, atol=0)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x / x.abs(),
        lambda x: torch.div(torch.abs(x), x),
        lambda x: (x - 0.25) / torch.abs(x - 0.25),
    ],
)
def test_a_value_by_its_size(function):
    _, zeros, found, wanted = simplified(function)
    known = ~torch.isnan(wanted)
    torch.testing.assert_close(found[known], wanted[known], rtol=0, atol=0)
    assert zeros == [0]
