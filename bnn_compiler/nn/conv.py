"""Layers whose weights are binarised in forward; the input is expected to be -1 / +1."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bnn_compiler.errors import ModelError
from bnn_compiler.nn.sign import sign
from bnn_compiler.nn.weight import magnitude_aware_sign

PAD_VALUES = (-1, 0, 1)


class BinaryConv2d(nn.Module):
    """Convolution with weights scale * sign(W); scale is the mean |W| per output (XNOR-Net).

    With ``scale=False`` the weights are exactly -1 / +1. Gradients are magnitude-aware
    (``magnitude_aware_sign``). ``pad_value`` (-1, 0, +1) surrounds the signs; 0 means that a padded
    tap adds nothing. Raises ModelError for another ``pad_value`` and for channels that ``groups``
    does not divide.
    """

    #: Multiply with the weights as they are (``convert.real_weights``).
    real_weights = False

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        *,
        stride: int = 1,
        padding: int = 0,
        dilation: int = 1,
        groups: int = 1,
        scale: bool = True,
        pad_value: int = 0,
    ) -> None:
        super().__init__()
        if pad_value not in PAD_VALUES:
            raise ModelError(f"pad_value {pad_value}; known: {', '.join(map(str, PAD_VALUES))}")
        if in_channels % groups or out_channels % groups:
            raise ModelError(f"{groups} groups do not divide {in_channels} and {out_channels}")
        shape = (out_channels, in_channels // groups, kernel_size, kernel_size)
        self.weight = nn.Parameter(torch.empty(shape))
        self.reset_parameters()
        self.stride, self.padding, self.dilation = stride, padding, dilation
        self.groups, self.scale, self.pad_value = groups, scale, pad_value

    def reset_parameters(self) -> None:
        """Draw the latent weights anew."""
        nn.init.normal_(self.weight, std=0.05)

    def effective_weight(self) -> Tensor:
        """What the signs are multiplied with, [out, in / groups, k, k]."""
        if self.real_weights:
            return self.weight
        return magnitude_aware_sign(self.weight) if self.scale else sign(self.weight)

    def forward(self, x: Tensor) -> Tensor:
        """x [N, C, H, W] of -1 / +1."""
        weight = self.effective_weight()
        padding = self.padding
        if padding and self.pad_value:
            x, padding = F.pad(x, [padding] * 4, value=float(self.pad_value)), 0
        return F.conv2d(x, weight, None, self.stride, padding, self.dilation, self.groups)


class BinaryLinear(nn.Module):
    """Dense layer with weights sign(W)."""

    #: Multiply with the weights as they are (``convert.real_weights``).
    real_weights = False

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(out_features, in_features))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the latent weights anew."""
        nn.init.normal_(self.weight, std=0.05)

    def forward(self, x: Tensor) -> Tensor:
        """x [N, F] of -1 / +1."""
        return F.linear(x, self.weight if self.real_weights else sign(self.weight))
