import pytest
import torch

from bnn_compiler.nn import magnitude_aware_sign


@pytest.mark.parametrize("shape", [(2, 3, 3, 3), (4, 5)])
def test_values_and_gradient_are_the_papers(shape):
    weight = (torch.randn(shape) * 0.8).requires_grad_()
    upstream = torch.randn(shape)
    result = magnitude_aware_sign(weight)
    (result * upstream).sum().backward()
    for out in range(shape[0]):
        row = weight[out].detach()
        scale = row.abs().sum() / row.numel()
        torch.testing.assert_close(result[out].detach(), scale * row.sign())
        wanted = upstream[out] * scale * (row.abs() < 1)
        torch.testing.assert_close(weight.grad[out], wanted)


def test_the_update_follows_the_magnitude():
    """The same gradient moves a filter of small weights less: by the ratio of the scales."""
    weight = torch.stack([torch.full((4,), 0.1), torch.full((4,), 0.5)]).requires_grad_()
    magnitude_aware_sign(weight).sum().backward()
    assert (weight.grad[1] / weight.grad[0]).tolist() == pytest.approx([5.0] * 4)
