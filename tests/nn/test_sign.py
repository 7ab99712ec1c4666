import pytest
import torch

from bnn_compiler.errors import ModelError
from bnn_compiler.nn import ApproxSign, ClippedSign, Sign, sign
from tests.author_style import MaskedApproxSign

# Every tie of the gradients' pieces is on the grid.
GRID = torch.linspace(-2, 2, 65)


def gradient(function, x):
    x = x.clone().requires_grad_()
    function(x).sum().backward()
    return x.grad


@pytest.mark.parametrize("function", [ApproxSign.apply, ClippedSign.apply])
@pytest.mark.parametrize("zero", [-1, 0, 1])
def test_forward_is_the_sign_and_zero_is_the_convention(function, zero):
    result = function(GRID, zero)
    assert torch.equal(result[GRID != 0], torch.sign(GRID[GRID != 0]))
    assert result[GRID == 0].item() == zero


@pytest.mark.parametrize("module", [Sign(), sign])
def test_zero_has_a_bit_by_default(module):
    assert torch.equal(module(torch.tensor([0.0, -0.0])), torch.ones(2))


@pytest.mark.parametrize("zero", [-1, 0, 1])
def test_approx_sign_has_the_gradient_of_the_authors_polynomial(zero):
    torch.testing.assert_close(gradient(Sign(zero=zero), GRID), gradient(MaskedApproxSign(), GRID))


def test_clipped_sign_has_the_gradient_of_clamp():
    wanted = gradient(lambda x: x.clamp(-1, 1), GRID)
    torch.testing.assert_close(gradient(sign, GRID), wanted)


def test_unknown_convention_lists_the_known():
    with pytest.raises(ModelError, match="-1, 0, 1"):
        Sign(zero=2)


def test_export_holds_no_training_arithmetic():
    program = torch.export.export(Sign().eval(), (GRID,))
    names = {n.target.__name__ for n in program.graph.nodes if n.op == "call_function"}
    assert names <= {
        "ge.Scalar",
        "where.self",
        "where.Scalar",
        "full.default",
        "scalar_tensor.default",
    }
