"""Networks without float shortcuts: batch norm and sign become integer thresholds."""

import torch
from torch import Tensor, nn

from bnn_compiler.nn import BinaryConv2d, BinaryLinear, Sign


class XnorNet(nn.Module):
    """XNOR-Net-style blocks (Rastegari et al., ECCV 2016): BN, sign, binary conv, max-pool."""

    def __init__(self, channels: int, *, in_channels: int, num_classes: int, scale: bool) -> None:
        super().__init__()
        wide = 2 * channels
        self.stem = nn.Sequential(nn.Conv2d(in_channels, channels, 3, 2, 1), nn.ReLU())
        self.blocks = nn.Sequential(
            nn.BatchNorm2d(channels),
            Sign(),
            BinaryConv2d(channels, wide, 5, padding=2, scale=scale),
            nn.MaxPool2d(2),
            nn.BatchNorm2d(wide),
            Sign(),
            BinaryConv2d(wide, wide, 3, padding=1, scale=scale),
            nn.BatchNorm2d(wide),
            nn.Hardtanh(),
            Sign(),
            BinaryConv2d(wide, wide, 3, padding=1, scale=scale, pad_value=1),
            nn.MaxPool2d(2),
            nn.BatchNorm2d(wide),
            Sign(),
            BinaryConv2d(wide, wide, 3, padding=1, scale=scale, pad_value=-1),
            nn.BatchNorm2d(wide),
        )
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(wide, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """[N, in_channels, H, W] -> [N, num_classes]."""
        x = self.pool(self.blocks(self.stem(x)))
        logits: Tensor = self.fc(torch.flatten(x, 1))
        return logits


class BopNet(nn.Module):
    """BinaryNet's shape with weights exactly -1 / +1 and a binary dense head (for Bop)."""

    def __init__(self, channels: int, size: int, *, in_channels: int, num_classes: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(in_channels, channels, 3, 1, 1), nn.BatchNorm2d(channels)
        )
        layers: list[nn.Module] = []
        for _ in range(3):
            layers += [
                Sign(),
                BinaryConv2d(channels, channels, 3, padding=1, scale=False),
                nn.MaxPool2d(2),
                nn.BatchNorm2d(channels),
            ]
        self.body = nn.Sequential(*layers, Sign())
        self.head = BinaryLinear(channels * (size // 8) ** 2, num_classes)
        self.norm = nn.BatchNorm1d(num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """[N, in_channels, size, size] -> [N, num_classes]."""
        logits: Tensor = self.norm(self.head(torch.flatten(self.body(self.stem(x)), 1)))
        return logits


def xnornet(
    *, num_classes: int = 1000, width: float = 1.0, in_channels: int = 3, scale: bool = True
) -> nn.Module:
    """XNOR-Net-style blocks with every padding value and with and without pooling."""
    channels = max(4, int(96 * width))
    return XnorNet(channels, in_channels=in_channels, num_classes=num_classes, scale=scale)


def bop_net(
    *, num_classes: int = 10, width: float = 1.0, in_channels: int = 3, size: int = 32
) -> nn.Module:
    """A network as Bop leaves it: weights exactly -1 / +1, no scale; ``size`` is the image's side.

    The default is BinaryNet's data set, CIFAR-10.
    """
    channels = max(4, int(128 * width))
    return BopNet(channels, size, in_channels=in_channels, num_classes=num_classes)
