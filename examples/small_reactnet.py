"""A ReActNet-style network of three blocks for digits; a search can choose its channels.

In a block the 3x3's outputs are free, and where a block changes its resolution its shortcut is an
average pool and a float 1x1, so that each resolution has channels of its own. ReActNet's own
shortcut doubles its channels, which ties all of them to one count.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bnn_compiler.nn import BinaryConv2d, RPReLU, RSign


class Block(nn.Module):
    """Binary 3x3, then binary 1x1, a shortcut around both."""

    def __init__(self, inputs: int, middle: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.spatial = nn.Sequential(
            RSign(inputs),
            BinaryConv2d(inputs, middle, 3, stride=stride, padding=1),
            nn.BatchNorm2d(middle),
            RPReLU(middle),
        )
        self.pointwise = nn.Sequential(
            RSign(middle), BinaryConv2d(middle, outputs, 1), nn.BatchNorm2d(outputs)
        )
        self.shortcut = nn.Sequential()
        if stride > 1 or inputs != outputs:
            self.shortcut = nn.Sequential(
                nn.AvgPool2d(stride),
                nn.Conv2d(inputs, outputs, 1, bias=False),
                nn.BatchNorm2d(outputs),
            )
        self.activation = RPReLU(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] -> [N, outputs, H / stride, W / stride]."""
        y: Tensor = self.activation(self.pointwise(self.spatial(x)) + self.shortcut(x))
        return y


class SmallReActNet(nn.Module):
    """Float 3x3 stem with stride 2, three blocks, float classifier."""

    def __init__(self, channels: tuple[int, int, int] = (64, 128, 256), classes: int = 10) -> None:
        super().__init__()
        a, b, c = channels
        self.stem = nn.Sequential(nn.Conv2d(1, a, 3, 2, 1, bias=False), nn.BatchNorm2d(a))
        self.blocks = nn.Sequential(Block(a, a, a, 1), Block(a, b, b, 2), Block(b, c, c, 2))
        self.fc = nn.Linear(c, classes)

    def forward(self, x: Tensor) -> Tensor:
        """[N, 1, 32, 32] -> [N, 10]."""
        x = F.adaptive_avg_pool2d(self.blocks(self.stem(x)), 1)
        logits: Tensor = self.fc(torch.flatten(x, 1))
        return logits


def small_reactnet() -> nn.Module:
    """For ``bnnc search examples.small_reactnet:small_reactnet``."""
    return SmallReActNet()


def tiny_reactnet() -> nn.Module:
    """The same, narrower: it trains in seconds."""
    return SmallReActNet((16, 32, 64))
