"""A clamp of a rounded value, and the one bit that some of them are."""

import pytest
import torch
from torch.nn import functional as F

from bnn_compiler.frontend.pytorch import simplify, trace
from bnn_compiler.frontend.pytorch.trace import interpreter, op_name
from tests.network import Applied

#: Halves, where rounding is to even, and their neighbours in float32.
HALVES = torch.arange(-8, 9) / 2
X = torch.stack([HALVES, *(torch.nextafter(HALVES, torch.tensor(t)) for t in (-9.0, 9.0))])
X = X.reshape(1, 3, 17, 1)


def simplified(function, tolerance=0.0):
    """The names of the operators left; their result is PyTorch's, within a tolerance."""
    model = Applied(function)
    traced = simplify.simplify(trace.trace(model, (X,)))
    (found,) = interpreter(traced).run(X)
    torch.testing.assert_close(found, model(X), rtol=0, atol=tolerance)
    return [op_name(n) for n in traced.graph.nodes if n.op == "call_function"]


SIGNS = {
    "0 or 1": lambda x: torch.round(x).clamp(0.0, 1.0),
    "by its own bounds": lambda x: torch.round(torch.clamp(x, 0.0, 1.0)),
    "1 or 2": lambda x: torch.floor(x).clamp(1, 2),
    "-1 or 0": lambda x: F.hardtanh(torch.ceil(x), -1.0, 0.0),
    "by two clamps": lambda x: torch.round(x).clamp_min(0).clamp_max(1),
    "by a constant": lambda x: torch.clamp(torch.round(x), torch.tensor(0.0), torch.tensor(1.0)),
}


@pytest.mark.parametrize("name", SIGNS)
def test_one_bit_is_a_sign(name):
    names = simplified(SIGNS[name])
    assert names.count("sign") == 1
    assert not {"round", "floor", "ceil", "clamp", "hardtanh"} & set(names)


def test_an_elastic_bit_is_a_sign_of_its_quotient():
    names = simplified(lambda x: torch.round((x - 0.1) / 0.7).clamp(0.0, 1.0) * 0.7 + 0.1, 1e-7)
    assert names[:4] == ["sub", "div", "sub", "sign"]


OTHERS = {
    "three levels": lambda x: torch.round(x).clamp(-1, 1),
    "bounds between": lambda x: torch.round(x).clamp(-0.5, 0.5),
    "one bound": lambda x: torch.round(x).clamp(max=1),
    "relu6": lambda x: F.relu6(torch.floor(x)),
    "decimals": lambda x: torch.round(x, decimals=1).clamp(0, 1),
    "truncated": lambda x: torch.trunc(x).clamp(-1, 1),
    "empty": lambda x: torch.round(x).clamp(1, 0),
    "both used": lambda x: torch.round(x).clamp(-2, 2) + torch.round(x),
}


@pytest.mark.parametrize("name", OTHERS)
def test_what_is_no_bit_keeps_its_numbers(name):
    simplified(OTHERS[name])
