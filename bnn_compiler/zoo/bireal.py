"""Bi-Real Net 18 and 34 (Liu et al., ECCV 2018), their ReAct variant, and a depth decoder."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bnn_compiler.nn import BinaryConv2d, RPReLU, RSign, Sign


def stage_channels(width: float) -> list[int]:
    """The channels of the four stages."""
    return [max(1, int(c * width)) for c in (64, 128, 256, 512)]


def downsample(inputs: int, outputs: int, stride: int) -> nn.Module:
    """The shortcut where the shape changes: average pool, float 1x1 convolution, batch norm."""
    return nn.Sequential(
        nn.AvgPool2d(2, stride),
        nn.Conv2d(inputs, outputs, 1, bias=False),
        nn.BatchNorm2d(outputs),
    )


class Block(nn.Module):
    """sign, binary 3x3, batch norm, plus the shortcut; RSign and RPReLU if ``react``."""

    def __init__(self, inputs: int, outputs: int, stride: int, react: bool) -> None:
        super().__init__()
        self.sign = RSign(inputs) if react else Sign()
        self.conv = BinaryConv2d(inputs, outputs, 3, stride=stride, padding=1)
        self.bn = nn.BatchNorm2d(outputs)
        self.shortcut = (
            downsample(inputs, outputs, stride)
            if stride > 1 or inputs != outputs
            else nn.Identity()
        )
        self.act = RPReLU(outputs) if react else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """x [N, C, H, W]."""
        y = self.bn(self.conv(self.sign(x)))
        result: Tensor = self.act(y + self.shortcut(x))
        return result


class BiRealNet(nn.Module):
    """Float 7x7 stem, four stages of one-convolution blocks, float classifier."""

    def __init__(
        self,
        blocks: Sequence[int],
        *,
        in_channels: int,
        num_classes: int,
        width: float,
        react: bool = False,
    ) -> None:
        super().__init__()
        channels = stage_channels(width)
        self.conv1 = nn.Conv2d(in_channels, channels[0], 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(channels[0])
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        self.stages = nn.ModuleList()
        inputs = channels[0]
        for stage, (outputs, count) in enumerate(zip(channels, blocks, strict=True)):
            layers = []
            for i in range(count):
                layers.append(Block(inputs, outputs, 2 if stage and not i else 1, react))
                inputs = outputs
            self.stages.append(nn.Sequential(*layers))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(inputs, num_classes)

    def features(self, x: Tensor) -> list[Tensor]:
        """The stem's and each stage's output."""
        maps = [self.maxpool(self.bn1(self.conv1(x)))]
        for stage in self.stages:
            maps.append(stage(maps[-1]))
        return maps

    def forward(self, x: Tensor) -> Tensor:
        """[N, in_channels, H, W] -> [N, num_classes]."""
        logits: Tensor = self.fc(torch.flatten(self.pool(self.features(x)[-1]), 1))
        return logits


class DepthDecoder(nn.Module):
    """A Bi-Real encoder and an upsampling decoder with skip connections, one value per pixel."""

    def __init__(self, encoder: BiRealNet, channels: Sequence[int]) -> None:
        super().__init__()
        self.encoder = encoder
        self.reduce = nn.ModuleList(
            nn.Conv2d(deep + skip, skip, 3, padding=1)
            for deep, skip in zip(channels[:0:-1], channels[-2::-1], strict=True)
        )
        self.head = nn.Conv2d(channels[0], 1, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """[N, in_channels, H, W] -> [N, 1, H/2, W/2], H and W divisible by 4."""
        *skips, y = self.encoder.features(x)[1:]
        for conv, skip in zip(self.reduce, skips[::-1], strict=True):
            y = F.interpolate(y, size=skip.shape[2:], mode="bilinear", align_corners=False)
            y = F.relu(conv(torch.cat([y, skip], 1)))
        depth: Tensor = self.head(F.interpolate(y, scale_factor=2.0, mode="nearest"))
        return depth


def birealnet18(*, num_classes: int = 1000, width: float = 1.0, in_channels: int = 3) -> nn.Module:
    """Bi-Real Net 18: 16 binary convolutions."""
    return BiRealNet((4, 4, 4, 4), in_channels=in_channels, num_classes=num_classes, width=width)


def birealnet34(*, num_classes: int = 1000, width: float = 1.0, in_channels: int = 3) -> nn.Module:
    """Bi-Real Net 34: 32 binary convolutions."""
    return BiRealNet((6, 8, 12, 6), in_channels=in_channels, num_classes=num_classes, width=width)


def react_birealnet18(
    *, num_classes: int = 1000, width: float = 1.0, in_channels: int = 3
) -> nn.Module:
    """Bi-Real Net 18 with RSign and RPReLU (ReActNet's baseline)."""
    return BiRealNet(
        (4, 4, 4, 4), in_channels=in_channels, num_classes=num_classes, width=width, react=True
    )


def bireal_depth(*, width: float = 1.0, in_channels: int = 3) -> nn.Module:
    """A Bi-Real-18 encoder for dense prediction."""
    encoder = BiRealNet((4, 4, 4, 4), in_channels=in_channels, num_classes=1, width=width)
    return DepthDecoder(encoder, stage_channels(width))
