"""Random weights and statistics under which no layer is degenerate."""

import torch
from torch import Tensor, nn

from bnn_compiler.nn.activation import Shift


@torch.no_grad()
def randomize(model: nn.Module, example: Tensor, *, seed: int = 0, signed: bool = False) -> None:
    """Draw every parameter, then set each batch norm's statistics from ``example``'s data.

    ``signed`` makes a third of the batch-norm gains negative and a few zero. Leaves the model in
    eval mode.
    """
    generator = torch.Generator().manual_seed(seed)

    def draw(shape: torch.Size, low: float, high: float) -> Tensor:
        return torch.rand(shape, generator=generator) * (high - low) + low

    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d | nn.BatchNorm1d):
            module.weight.copy_(draw(module.weight.shape, 0.5, 1.5))
            module.bias.copy_(draw(module.bias.shape, -0.3, 0.3))
            module.momentum = 1.0
            if signed:
                module.weight[::3] *= -1
                module.weight[5::11] = 0
        elif isinstance(module, Shift):
            module.bias.copy_(draw(module.bias.shape, -0.3, 0.3))
        elif isinstance(module, nn.PReLU):
            module.weight.copy_(draw(module.weight.shape, 0.05, 0.5))
    model.train()
    noise = torch.randn((4, *example.shape[1:]), generator=generator)
    model(noise)
    model.eval()
