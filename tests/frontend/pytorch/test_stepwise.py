"""Functions of one value, found by evaluating them: every spelling is a sign, exactly."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from bnn_compiler.frontend.pytorch import simplify, trace
from bnn_compiler.frontend.pytorch.markers import sign
from bnn_compiler.frontend.pytorch.trace import interpreter, op_name
from tests.network import Applied

#: Around every edge below, the edges themselves, and both zeros.
VALUES = [-9, -2, -1, -0.75, -0.5, -0.25, -0.1, -0.0, 0.0, 0.1, 0.25, 0.3, 0.5, 0.75, 1, 1.5, 2, 9]
X = torch.tensor(VALUES).repeat(3, 1).t().reshape(1, 3, len(VALUES), 1).contiguous()
ONE, MINUS = torch.tensor(1.0), torch.tensor(-1.0)


def filled(x, *masks):
    for mask, value in masks:
        x[mask] = value
    return x


#: One sign, exactly; names of functions say nothing.
PLAIN = [
    lambda x: torch.where(torch.sign(x) == 0, 1, torch.sign(x)),
    lambda x: torch.where(torch.sign(x) == 0, ONE, torch.sign(x)),
    lambda x: torch.where(x > 0, ONE, MINUS),
    lambda x: torch.where(x >= 0, torch.ones_like(x), -torch.ones_like(x)),
    lambda x: (x >= 0).to(x.dtype) - (x < 0).to(x.dtype),
    lambda x: (x >= 0).float() - (x < 0).float(),
    lambda x: 1 - 2 * (x < 0).float(),
    lambda x: (x > 0).float() * 2 - 1,
    lambda x: 2 * ((x >= 0).float() - 0.5),
    lambda x: ((x >= 0).int() * 2 - 1).float(),
    lambda x: (x >= 0).long().mul(2).sub(1).float(),
    lambda x: torch.sgn(x),
    lambda x: torch.heaviside(x, ONE) * 2 - 1,
    lambda x: x.masked_fill(x >= 0, 1.0).masked_fill(x < 0, -1.0),
    lambda x: filled(x.clone(), (x >= 0, 1.0), (x < 0, -1.0)),
    lambda x: filled(torch.zeros_like(x), (x >= 0, 1.0), (x < 0, -1.0)),
    lambda x: filled(torch.ones_like(x), (x < 0, -1.0)),
    lambda x: torch.sign(torch.sign(x) + 0.5),
    lambda x: torch.sign(torch.sign(x) + 1) * 2 - 1,
    lambda x: torch.sign(x) + (x == 0).float(),
    lambda x: torch.sign(x).add(0.1).sign(),
    lambda x: torch.where(torch.logical_not(x < 0), 1.0, -1.0),
    lambda x: torch.where((x > 0) | (x == 0), 1.0, -1.0),
    lambda x: torch.sign(F.hardtanh(x)),
    lambda x: torch.sign(torch.clamp(torch.tanh(x), -0.5, 0.5)),
    lambda x: torch.where(torch.clamp(x, -1, 1) >= 0, 1.0, -1.0),
    lambda x: torch.sign(torch.tanh(torch.clamp(x, -1, 1))),
    lambda x: torch.round(torch.clamp(x, 0, 1) * 0 + torch.clamp(torch.sign(x), 0, 1)) * 2 - 1,
    lambda x: torch.floor(torch.clamp(x, -0.5, 0.5)) * 2 + 1,
    lambda x: torch.ceil(torch.clamp(x, -0.5, 0.5)) * 2 - 1,
]
#: One sign with an edge, a scale or a shift.
SHIFTED = [
    lambda x: (x >= 0.25).to(x.dtype) * 2 - 1,
    lambda x: (x > 0).float(),
    lambda x: (x >= 0.5).float(),
    lambda x: torch.round(torch.clamp(x, 0, 1)),
    lambda x: torch.round((torch.clamp(x, -1, 1) + 1) / 2),
    lambda x: torch.round(torch.clamp((x + 1) / 2, 0, 1)) * 2 - 1,
    lambda x: 0.5 * torch.where(x >= 0, 1.0, -1.0),
    lambda x: torch.where(x >= 0, -1.0, 1.0),
    lambda x: -torch.where(x > 0, 1.0, -1.0),
    lambda x: 0.8 * (torch.where(x >= 0, 1.0, -1.0) + 0.1),
    lambda x: torch.where(x > 0.3, 0.7, 0.2),
    lambda x: torch.heaviside(x - 0.25, torch.tensor(0.0)),
    lambda x: torch.where(torch.where(x > 1, 1.0, x) > 0.5, 1.0, 0.0),
    lambda x: torch.where(x.abs() < 0.5, 1.0, -1.0),
]
#: Others: clamps, and what has more steps.
CLAMPS = [
    lambda x: torch.where(torch.where(x > 1, 1.0, x) < -1, -1.0, torch.where(x > 1, 1.0, x)),
    lambda x: torch.maximum(torch.minimum(x, ONE), MINUS),
    lambda x: x.masked_fill(x > 1, 1.0),
]
OTHERS = [
    lambda x: torch.round(torch.clamp(x, 0, 3)),
    lambda x: torch.where(x > 0, x, 0.5),
    lambda x: torch.where((x > 0) & (x < 1), 1.0, 0.0),
    lambda x: torch.sign(x) * x.abs().mean(),
    lambda x: torch.round(x),
    lambda x: torch.where(x > 0, 1.0, torch.where(x == 0, 0.3, -1.0)),
]


def simplified(model):
    """(names of the operators left, result, PyTorch's result) at ``X``."""
    traced = simplify.simplify(trace.trace(model, (X,)))
    (result,) = interpreter(traced).run(X)
    calls = [n for n in traced.graph.nodes if n.op == "call_function"]
    signs = sum(n.target is sign for n in calls)
    return [op_name(n) for n in calls], signs, result, model(X)


@pytest.mark.parametrize("function", PLAIN)
def test_a_spelling_is_one_sign_and_nothing_else(function):
    names, signs, found, wanted = simplified(Applied(function))
    torch.testing.assert_close(found, wanted, rtol=0, atol=0)
    assert signs == 1 and set(names) <= {"sign", "mul", "add"}
    if set(wanted.unique().tolist()) <= {-1.0, 0.0, 1.0}:
        assert names == ["sign"]


@pytest.mark.parametrize("function", SHIFTED)
def test_an_edge_a_scale_and_a_shift_stand_around_one_sign(function):
    names, signs, found, wanted = simplified(Applied(function))
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-7)
    assert signs == 1 and set(names) <= {"sign", "sub", "mul", "add", "div", "abs", "clamp"}


@pytest.mark.parametrize("function", CLAMPS)
def test_a_clamp_in_other_words(function):
    names, _, found, wanted = simplified(Applied(function))
    torch.testing.assert_close(found, wanted, rtol=0, atol=0)
    assert set(names) == {"clamp"}


@pytest.mark.parametrize("function", OTHERS)
def test_what_is_no_sign_is_left_alone(function):
    _, _, found, wanted = simplified(Applied(function))
    torch.testing.assert_close(found, wanted, rtol=0, atol=0)


def test_thresholds_and_levels_may_differ_by_channel():
    class Learnt(nn.Module):
        def __init__(self):
            super().__init__()
            self.edge = nn.Parameter(torch.tensor([-0.25, 0.1, 0.5]).reshape(1, 3, 1, 1))
            self.size = nn.Parameter(torch.tensor([0.5, 2.0, -1.0]).reshape(3, 1, 1))

        def forward(self, x):
            return torch.where(x >= self.edge, self.size, -self.size * 0.5)

    names, signs, found, wanted = simplified(Learnt().eval())
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-7)
    assert signs == 1 and set(names) == {"sign", "sub", "mul", "add"}


def test_edges_in_another_order_in_each_channel_are_no_sign():
    edge = torch.tensor([-0.25, 0.1, 0.5]).reshape(1, 3, 1, 1)
    function = lambda x: (x > edge).float() + (x > 0).float()  # noqa: E731
    _, _, found, wanted = simplified(Applied(function))
    torch.testing.assert_close(found, wanted, rtol=0, atol=0)
