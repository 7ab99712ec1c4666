"""ResNet-18 has the parameters it is known for."""

import torch

from benchmarks.resnet import ResNet18


def test_parameters_and_shapes() -> None:
    model = ResNet18().eval()
    assert sum(parameter.numel() for parameter in model.parameters()) == 11_689_512
    with torch.inference_mode():
        assert model(torch.zeros(2, 3, 64, 64)).shape == (2, 1000)
