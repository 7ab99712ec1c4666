"""The papers' networks as functions plan -> module, each group of channels free (see ``factory``).

A shortcut ties its two ends together. In ReActNet-A shortcuts tie all layers, one group for the
whole network, and one between two counts, over the leading channels, does not compile. So the
ReActNet here widens as ReActNet-C does, by a real 1x1 convolution, which needs no shortcut: a group
for the stem and for each stage. Bi-Real Net's stages are free as they are: ``zoo.birealnet18``.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from bnn_compiler.nn import BinaryConv2d, RPReLU, RSign
from bnn_compiler.search.crops import Plan

_MOBILENET = (32, 64, 128, 128, 256, 256, 512, 512, 512, 512, 512, 512, 1024, 1024)
_REACTNET = (32, 64, 128, 256, 512, 1024)


def mobilenet_v1_plan(width: float = 1.0) -> dict[str, int]:
    """The full plan of ``mobilenet_v1``: "conv1" and "blocks.0" to "blocks.12"."""
    names = ["conv1", *(f"blocks.{i}" for i in range(13))]
    return {n: max(1, int(c * width)) for n, c in zip(names, _MOBILENET, strict=True)}


def mobilenet_v1(plan: Plan, *, num_classes: int = 1000, in_channels: int = 3) -> nn.Module:
    """MobileNetV1 as MetaPruning prunes it: real-valued, every layer's outputs are a group."""
    channels = [plan[name] for name in mobilenet_v1_plan()]
    return MobileNetV1(channels, in_channels=in_channels, num_classes=num_classes)


def reactnet_plan(width: float = 1.0, stages: int = 5) -> dict[str, int]:
    """The full plan of ``reactnet``: "stem" and "stages.0" to the last."""
    names = ["stem", *(f"stages.{i}" for i in range(stages))]
    return {n: max(1, int(c * width)) for n, c in zip(names, _REACTNET, strict=False)}


def reactnet(
    plan: Plan,
    *,
    blocks: Sequence[int] = (1, 2, 2, 6, 2),
    num_classes: int = 1000,
    in_channels: int = 3,
) -> nn.Module:
    """ReActNet with a group for the stem and each stage; ``blocks`` of each stage.

    The first stage keeps the stem's size, each other halves it.
    """
    channels = [plan["stem"], *(plan[f"stages.{i}"] for i in range(len(blocks)))]
    return ReActNet(channels, blocks, in_channels=in_channels, num_classes=num_classes)


class Separable(nn.Sequential):
    """Depthwise 3x3 and 1x1, each with batch norm and ReLU."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__(
            nn.Conv2d(inputs, inputs, 3, stride, 1, groups=inputs, bias=False),
            nn.BatchNorm2d(inputs),
            nn.ReLU(),
            nn.Conv2d(inputs, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
        )


class MobileNetV1(nn.Module):
    """Stem, 13 separable convolutions, classifier (Howard et al., 2017)."""

    def __init__(self, channels: Sequence[int], *, in_channels: int, num_classes: int) -> None:
        super().__init__()
        self.conv1 = nn.Sequential(
            nn.Conv2d(in_channels, channels[0], 3, 2, 1, bias=False),
            nn.BatchNorm2d(channels[0]),
            nn.ReLU(),
        )
        strides = (1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1)
        self.blocks = nn.Sequential(
            *(Separable(a, b, s) for (a, b), s in zip(pairwise(channels), strides, strict=True))
        )
        self.fc = nn.Linear(channels[-1], num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """[N, in_channels, H, W] -> [N, num_classes]."""
        x = nn.functional.adaptive_avg_pool2d(self.blocks(self.conv1(x)), 1)
        logits: Tensor = self.fc(torch.flatten(x, 1))
        return logits


class Block(nn.Module):
    """ReActNet's block: binary 3x3, then binary 1x1, or a real one where the count changes."""

    def __init__(self, inputs: int, outputs: int, stride: int, widen: bool) -> None:
        super().__init__()
        self.sign1 = RSign(inputs)
        self.conv3 = BinaryConv2d(inputs, inputs, 3, stride=stride, padding=1)
        self.bn3 = nn.BatchNorm2d(inputs)
        self.pool = nn.AvgPool2d(2, 2) if stride == 2 else nn.Identity()
        self.act1 = RPReLU(inputs)
        self.widen = widen
        self.sign2 = nn.Identity() if widen else RSign(inputs)
        self.conv1 = (
            nn.Conv2d(inputs, outputs, 1, bias=False) if widen else BinaryConv2d(inputs, outputs, 1)
        )
        self.bn1 = nn.BatchNorm2d(outputs)
        self.act2 = RPReLU(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """x [N, C, H, W], H and W even where the stride is 2."""
        x = self.act1(self.bn3(self.conv3(self.sign1(x))) + self.pool(x))
        y = self.bn1(self.conv1(self.sign2(x)))
        result: Tensor = self.act2(y if self.widen else y + x)
        return result


class ReActNet(nn.Module):
    """Real 3x3 stem, stages of blocks, real classifier."""

    def __init__(
        self, channels: Sequence[int], blocks: Sequence[int], *, in_channels: int, num_classes: int
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels[0], 3, 2, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels[0])
        self.stages = nn.Sequential(
            *(
                nn.Sequential(
                    *(
                        Block(b if i else a, b, 1 if i or not stage else 2, i == 0)
                        for i in range(count)
                    )
                )
                for stage, ((a, b), count) in enumerate(
                    zip(pairwise(channels), blocks, strict=True)
                )
            )
        )
        self.fc = nn.Linear(channels[-1], num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """[N, in_channels, H, W] -> [N, num_classes]."""
        x = nn.functional.adaptive_avg_pool2d(self.stages(self.bn1(self.conv1(x))), 1)
        logits: Tensor = self.fc(torch.flatten(x, 1))
        return logits
