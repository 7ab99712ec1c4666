"""PyTorch's networks that a GPU's are compared with compute what they say, on a CPU."""

import pytest
import torch
from torch import nn

from benchmarks import cuda_peers


@pytest.mark.parametrize(("size", "stride", "padding"), [(3, 1, 1), (3, 2, 1), (1, 2, 0)])
def test_a_convolution_in_int8_is_that_of_its_levels(size, stride, padding):
    torch.manual_seed(0)
    conv = nn.Conv2d(16, 24, size, stride, padding)
    # Weights are levels already, and the input's are multiples of its step.
    levels = torch.randint(-126, 127, conv.weight.shape).float()
    levels[:, 0, 0, 0] = 127
    conv.weight.data = levels * 2**-8
    x = torch.randint(-127, 128, (2, 16, 9, 9)).float() * 0.25
    found, wanted = cuda_peers.Int8(conv, 0.25)(x), conv(x)
    assert found.shape == wanted.shape
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("name", cuda_peers.NETWORKS)
def test_networks_in_int8(name):
    torch.manual_seed(0)
    model = cuda_peers.NETWORKS[name]().eval()
    convolutions = sum(isinstance(m, nn.Conv2d) for m in model.modules())
    x = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        wanted = model(x)
        found = cuda_peers.in_int8(model, 0.02)(x)
    assert sum(isinstance(m, cuda_peers.Int8) for m in model.modules()) == convolutions - 1
    assert found.shape == (1, 1000) and torch.isfinite(found).all()
    assert torch.corrcoef(torch.cat([found, wanted]))[0, 1] > 0.9
