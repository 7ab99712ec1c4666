"""Activations with learned shifts (ReActNet, Liu et al., 2020) and Bi-Real-50's Leakyclip."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bnn_compiler.nn.sign import Sign


class Shift(nn.Module):
    """A learned constant per channel, added."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(1, channels, 1, 1))

    def reset_parameters(self) -> None:
        """Back to no shift."""
        nn.init.zeros_(self.bias)

    def forward(self, x: Tensor) -> Tensor:
        """x [N, C, H, W]."""
        return x + self.bias


class RSign(nn.Sequential):
    """Sign against a learned threshold per channel."""

    def __init__(self, channels: int) -> None:
        super().__init__(Shift(channels), Sign())


class RPReLU(nn.Sequential):
    """PReLU with a learned shift before and after."""

    def __init__(self, channels: int) -> None:
        super().__init__(Shift(channels), nn.PReLU(channels), Shift(channels))


class LeakyClip(nn.Module):
    """x inside [-1, 1], slope 0.1 outside."""

    def forward(self, x: Tensor) -> Tensor:
        """Any shape."""
        return 0.1 * x + 0.9 * F.hardtanh(x)
