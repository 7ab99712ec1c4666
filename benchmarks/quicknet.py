"""QuickNet (Bannink et al., MLSys 2021), the network that Larq Compute Engine is known by.

Float stem with a depthwise convolution; blocks of a binary 3x3 padded by +1, ReLU, then batch norm,
and a shortcut; between the sections an anti-aliased max pool and a float 1x1 convolution.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bnn_compiler.nn import BinaryConv2d, Sign

CHANNELS = (64, 128, 256, 512)
BLOCKS = 4


class Block(nn.Module):
    """A binary convolution with its shortcut."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.sign = Sign()
        self.conv = BinaryConv2d(channels, channels, 3, padding=1, pad_value=1, scale=False)
        self.bn = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        """x [N, C, H, W]."""
        y: Tensor = self.bn(F.relu(self.conv(self.sign(x))))
        return y + x


class Transition(nn.Module):
    """Half the pixels, more channels; `blur` is a depthwise convolution."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.blur = nn.Conv2d(inputs, inputs, 3, 2, 1, groups=inputs, bias=False)
        self.conv = nn.Conv2d(inputs, outputs, 1, bias=False)
        self.bn = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """x [N, C, H, W]."""
        y: Tensor = self.bn(self.conv(self.blur(F.max_pool2d(F.relu(x), 2, 1))))
        return y


class QuickNet(nn.Module):
    """Stem, four sections, mean over pixels, classifier."""

    def __init__(self, *, num_classes: int = 1000, blocks: int = BLOCKS) -> None:
        super().__init__()
        channels = CHANNELS[0]
        self.conv1 = nn.Conv2d(3, channels // 4, 3, 2, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels // 4)
        self.depthwise = nn.Conv2d(
            channels // 4, channels // 4, 3, 2, 1, groups=channels // 4, bias=False
        )
        self.bn2 = nn.BatchNorm2d(channels // 4)
        self.conv3 = nn.Conv2d(channels // 4, channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(channels)
        layers: list[nn.Module] = []
        for outputs in CHANNELS:
            if outputs != channels:
                layers.append(Transition(channels, outputs))
            layers += [Block(outputs) for _ in range(blocks)]
            channels = outputs
        self.layers = nn.Sequential(*layers)
        self.fc = nn.Linear(channels, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """[N, 3, H, W] -> [N, num_classes]."""
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.bn3(self.conv3(self.bn2(self.depthwise(x))))
        x = F.relu(self.layers(x))
        logits: Tensor = self.fc(torch.mean(x, (2, 3)))
        return logits
