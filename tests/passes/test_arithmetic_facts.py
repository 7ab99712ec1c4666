import numpy as np
import pytest
import torch
from torch.nn import functional as F

from tests.passes.test_atoms import BINARY, CONV, atoms_of, norm


def gated(x, gate):
    """A gate beside its shortcut."""
    return x * torch.sigmoid(gate) * 0.7 + x


def less_itself(x, gate):
    """0 where the gate is 1."""
    return x * gate - x


@torch.no_grad()
def quantized(x, bits=8):
    """Multiples of a quarter."""
    return torch.fake_quantize_per_tensor_affine(x, 0.25, 0, -(1 << bits - 1), (1 << bits - 1) - 1)


@pytest.mark.parametrize(
    ("zero", "function", "layers"),
    [
        (False, lambda x, conv: torch.sigmoid(conv(x)), (CONV,)),
        (False, lambda x, conv: F.silu(conv(x)), (CONV,)),
        (True, lambda x, conv: F.silu(F.relu(conv(x))), (CONV,)),
        (True, lambda x, conv: F.hardswish(conv(x)), (CONV,)),
        (True, lambda x, conv: F.hardsigmoid(conv(x)), (CONV,)),
        (False, lambda x, conv: F.hardsigmoid(conv(x)) + 0.5, (CONV,)),
        (True, lambda x, conv: torch.round(conv(x)), (CONV,)),
        (True, lambda x, conv: torch.tanh(conv(x)), (BINARY,)),
        (False, lambda x, conv: torch.tanh(conv(x) + 0.5), (BINARY,)),
        (True, lambda x, conv: F.gelu(conv(x) * 0.01), (BINARY,)),
        (True, lambda x, conv: F.threshold(F.relu(conv(x)), -1.0, 0.0), (CONV,)),
        (False, lambda x, conv: conv(x) * torch.sigmoid(F.avg_pool2d(x, 3, 1)), (CONV,)),
        (False, lambda x, conv, bn: bn(conv(x)) * torch.sigmoid(conv(x)), (CONV, norm(0.1))),
        (True, lambda x, conv: F.relu(conv(x)) * torch.sigmoid(conv(x)), (CONV,)),
        (True, lambda x, conv: F.relu(conv(x)) / torch.exp(conv(x)), (CONV,)),
        (False, lambda x, conv: torch.minimum(conv(x), torch.tanh(conv(x))), (CONV,)),
        (True, lambda x, conv: torch.maximum(conv(x), F.relu(conv(x))), (CONV,)),
        (False, lambda x, conv: conv(x) * torch.sigmoid(conv(x).mean((2, 3), True)), (CONV,)),
        (False, lambda x, conv: gated(conv(x), conv(x + 1)), (CONV,)),
        (True, lambda x, conv: gated(F.relu(conv(x)), conv(x + 1)), (CONV,)),
        (True, lambda x, conv: less_itself(conv(x), F.hardtanh(conv(x + 1))), (CONV,)),
        (True, lambda x, conv: quantized(conv(x)), (CONV,)),
        (True, lambda x, conv: quantized(conv(x)) - 0.5, (CONV,)),
        (True, lambda x, conv: quantized(conv(x)) - quantized(conv(x + 1)), (CONV,)),
        (True, lambda x, conv: quantized(conv(x), bits=2) + 0.25, (CONV,)),
        (False, lambda x, conv: quantized(conv(x), bits=2) + 0.75, (CONV,)),
    ],
)
def test_zeros_of_functions_and_products(zero, function, layers):
    atoms, result = atoms_of(function, *layers)
    assert atoms.may_be_zero(result) == zero


def test_what_a_function_makes_of_numbers_and_ranges():
    atoms, result = atoms_of(lambda x, conv: F.hardsigmoid(F.hardtanh(conv(x))), CONV)
    fact = atoms.fact(result)
    third, two_thirds = np.float32(2) / np.float32(6), np.float32(4) / np.float32(6)
    assert np.all(fact.low == third) and np.all(fact.high == two_thirds)
    assert {float(a[0]) for a in fact.atoms} == {float(third), float(two_thirds)}
