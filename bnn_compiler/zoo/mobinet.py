"""A binary MobileNet with group convolutions (MoBiNet, WACV 2020; Phan et al., CVPR 2020).

The papers' code is not public; the block follows their text: grouped binary 3x3 and 1x1
convolutions, each with a shortcut, and a group number per layer that a search may choose.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from bnn_compiler.nn import BinaryConv2d, RPReLU, RSign

#: Channels per group of each block's 3x3 and 1x1 convolution; 0 means one group.
PLAN = ((1, 2), (2, 4), (4, 8), (8, 16), (16, 0), (0, 32), (32, 1), (1, 0))


class Block(nn.Module):
    """Grouped binary 3x3, then grouped binary 1x1."""

    def __init__(self, channels: int, stride: int, per_group: tuple[int, int]) -> None:
        super().__init__()
        groups = [channels // p if p else 1 for p in per_group]
        self.sign1, self.sign2 = RSign(channels), RSign(channels)
        self.conv3 = BinaryConv2d(channels, channels, 3, stride=stride, padding=1, groups=groups[0])
        self.conv1 = BinaryConv2d(channels, channels, 1, groups=groups[1])
        self.bn3, self.bn1 = nn.BatchNorm2d(channels), nn.BatchNorm2d(channels)
        self.act3, self.act1 = RPReLU(channels), RPReLU(channels)
        self.pool = nn.AvgPool2d(2, 2) if stride == 2 else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """x [N, C, H, W]."""
        x = self.act3(self.bn3(self.conv3(self.sign1(x))) + self.pool(x))
        y: Tensor = self.act1(self.bn1(self.conv1(self.sign2(x))) + x)
        return y


class MoBiNet(nn.Module):
    """Float stem, blocks of a group plan, float classifier."""

    def __init__(
        self,
        channels: int,
        plan: Sequence[tuple[int, int]],
        *,
        in_channels: int,
        num_classes: int,
    ) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(in_channels, channels, 3, 2, 1, bias=False), nn.BatchNorm2d(channels)
        )
        self.blocks = nn.Sequential(
            *(Block(channels, 2 if i % 3 == 2 else 1, p) for i, p in enumerate(plan))
        )
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(channels, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """[N, in_channels, H, W] -> [N, num_classes]."""
        x = self.pool(self.blocks(self.stem(x)))
        logits: Tensor = self.fc(torch.flatten(x, 1))
        return logits


def mobinet(
    *,
    num_classes: int = 1000,
    width: float = 1.0,
    in_channels: int = 3,
    plan: Sequence[tuple[int, int]] = PLAN,
) -> nn.Module:
    """A grouped binary MobileNet; ``plan`` gives channels per group of each 3x3 and 1x1.

    The channels are a multiple of 32, which the default plan's group sizes divide.
    """
    channels = 32 * max(1, round(8 * width))
    return MoBiNet(channels, plan, in_channels=in_channels, num_classes=num_classes)
