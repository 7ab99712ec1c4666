"""ReActNet A, B and C (Liu et al., ECCV 2020): a binary MobileNet with parameter-free shortcuts."""

from itertools import pairwise

import torch
from torch import Tensor, nn

from bnn_compiler.nn import BinaryConv2d, RPReLU, RSign

CHANNELS = (32, 64, 128, 128, 256, 256, 512, 512, 512, 512, 512, 512, 1024, 1024)


class Block(nn.Module):
    """Binary 3x3 and binary 1x1, each with a shortcut; the 1x1 is duplicated to widen.

    ``float_groups`` replaces a widening 1x1 by a float one of that many groups (B: 4, C: 1).
    """

    def __init__(self, inputs: int, outputs: int, stride: int, float_groups: int) -> None:
        super().__init__()
        self.sign1 = RSign(inputs)
        self.conv3 = BinaryConv2d(inputs, inputs, 3, stride=stride, padding=1)
        self.bn3 = nn.BatchNorm2d(inputs)
        self.pool = nn.AvgPool2d(2, 2) if stride == 2 else nn.Identity()
        self.act1 = RPReLU(inputs)
        copies = outputs // inputs
        self.real = copies > 1 and float_groups > 0
        self.sign2 = nn.Identity() if self.real else RSign(inputs)
        self.points = nn.ModuleList(
            nn.Conv2d(inputs, inputs, 1, groups=float_groups, bias=False)
            if self.real
            else BinaryConv2d(inputs, inputs, 1)
            for _ in range(copies)
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(inputs) for _ in range(copies))
        self.act2 = RPReLU(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """x [N, C, H, W], H and W even where the stride is 2."""
        y = self.act1(self.bn3(self.conv3(self.sign1(x))) + self.pool(x))
        bits = self.sign2(y)
        parts = [norm(point(bits)) + y for point, norm in zip(self.points, self.norms, strict=True)]
        return self.act2(parts[0] if len(parts) == 1 else torch.cat(parts, 1))  # type: ignore[no-any-return]


class ReActNet(nn.Module):
    """Float 3x3 stem, 13 blocks, float classifier."""

    def __init__(
        self, *, in_channels: int, num_classes: int, width: float, float_groups: int = 0
    ) -> None:
        super().__init__()
        # Each widening doubles the channels, and B's four groups divide them.
        unit = 4 * max(1, round(8 * width))
        table = [unit * c // CHANNELS[0] for c in CHANNELS]
        self.conv1 = nn.Conv2d(in_channels, table[0], 3, 2, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(table[0])
        self.blocks = nn.Sequential(
            *(
                Block(a, b, 2 if a != b and i else 1, float_groups)
                for i, (a, b) in enumerate(pairwise(table))
            )
        )
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(table[-1], num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """[N, in_channels, H, W] -> [N, num_classes]; H and W divisible by 32."""
        x = self.blocks(self.bn1(self.conv1(x)))
        logits: Tensor = self.fc(torch.flatten(self.pool(x), 1))
        return logits


def reactnet_a(*, num_classes: int = 1000, width: float = 1.0, in_channels: int = 3) -> nn.Module:
    """ReActNet-A: every convolution but the stem is binary."""
    return ReActNet(in_channels=in_channels, num_classes=num_classes, width=width)


def reactnet_b(*, num_classes: int = 1000, width: float = 1.0, in_channels: int = 3) -> nn.Module:
    """ReActNet-B: widening 1x1 convolutions are float with 4 groups."""
    return ReActNet(in_channels=in_channels, num_classes=num_classes, width=width, float_groups=4)


def reactnet_c(*, num_classes: int = 1000, width: float = 1.0, in_channels: int = 3) -> nn.Module:
    """ReActNet-C: widening 1x1 convolutions are float."""
    return ReActNet(in_channels=in_channels, num_classes=num_classes, width=width, float_groups=1)
