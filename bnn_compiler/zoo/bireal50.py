"""Bi-Real Net 50 (Liu et al., IJCV 2020): bottlenecks that carry two float streams."""

import torch
from torch import Tensor, nn

from bnn_compiler.nn import BinaryConv2d, LeakyClip, Sign
from bnn_compiler.zoo.bireal import downsample

EXPANSION = 4


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1 binary convolutions, each with its own shortcut.

    ``narrow`` and ``wide`` are the streams of C and 4 C channels; the very first block has a
    float 1x1 behind LeakyClip instead of a binary one and no narrow stream to add.
    """

    def __init__(self, inputs: int, channels: int, stride: int, first: bool) -> None:
        super().__init__()
        wide = channels * EXPANSION
        self.first = first
        self.act = LeakyClip() if first else Sign()
        self.conv1 = (
            nn.Conv2d(inputs, channels, 1, bias=False)
            if first
            else BinaryConv2d(inputs, channels, 1)
        )
        self.bn1 = nn.BatchNorm2d(channels)
        changes = inputs != wide and not first
        self.narrow = (
            nn.Conv2d(channels // 2, channels, 1, bias=False) if changes else nn.Identity()
        )
        self.conv2 = BinaryConv2d(channels, channels, 3, stride=stride, padding=1)
        self.bn2 = nn.BatchNorm2d(channels)
        self.pool = nn.AvgPool2d(2, 2) if stride == 2 else nn.Identity()
        self.conv3 = BinaryConv2d(channels, wide, 1)
        self.bn3 = nn.BatchNorm2d(wide)
        self.wide = downsample(inputs, wide, stride) if inputs != wide else nn.Identity()
        if first:
            self.wide = nn.Sequential(nn.Conv2d(inputs, wide, 1, bias=False), nn.BatchNorm2d(wide))
        self.sign2, self.sign3 = Sign(), Sign()

    def forward(self, streams: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """(narrow, wide) -> (narrow, wide)."""
        narrow, wide = streams
        a = self.bn1(self.conv1(self.act(wide)))
        if not self.first:
            a = a + self.narrow(narrow)
        b = self.bn2(self.conv2(self.sign2(a))) + self.pool(a)
        c = self.bn3(self.conv3(self.sign3(b))) + self.wide(wide)
        return b, c


class BiRealNet50(nn.Module):
    """[3, 4, 6, 3] bottlenecks."""

    def __init__(self, *, in_channels: int, num_classes: int, width: float) -> None:
        super().__init__()
        stem = max(2, int(64 * width))
        self.conv1 = nn.Conv2d(in_channels, stem, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(stem)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        blocks: list[nn.Module] = []
        inputs = stem
        for stage, count in enumerate((3, 4, 6, 3)):
            channels = stem * 2**stage
            for i in range(count):
                first = not blocks
                blocks.append(Bottleneck(inputs, channels, 2 if stage and not i else 1, first))
                inputs = channels * EXPANSION
        self.blocks = nn.ModuleList(blocks)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(inputs, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """[N, in_channels, H, W] -> [N, num_classes]."""
        x = self.maxpool(self.bn1(self.conv1(x)))
        streams = (x, x)
        for block in self.blocks:
            streams = block(streams)
        logits: Tensor = self.fc(torch.flatten(self.pool(streams[1]), 1))
        return logits


def birealnet50(*, num_classes: int = 1000, width: float = 1.0, in_channels: int = 3) -> nn.Module:
    """Bi-Real Net 50: 47 binary convolutions."""
    return BiRealNet50(in_channels=in_channels, num_classes=num_classes, width=width)
