"""QuickNet has the shape of the published one."""

import torch

from benchmarks.quicknet import QuickNet
from bnn_compiler.nn import BinaryConv2d


def test_parameters_and_shapes() -> None:
    model = QuickNet().eval()
    binary = sum(m.weight.numel() for m in model.modules() if isinstance(m, BinaryConv2d))
    assert binary == 4 * 9 * (64**2 + 128**2 + 256**2 + 512**2)
    with torch.inference_mode():
        assert model(torch.zeros(2, 3, 64, 64)).shape == (2, 1000)
