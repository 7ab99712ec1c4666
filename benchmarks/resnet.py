"""ResNet-18 (He et al., CVPR 2016), the float network that Bi-Real-18 is made from."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

CHANNELS = (64, 128, 256, 512)


class Block(nn.Module):
    """Two 3x3 convolutions and a shortcut, which is a 1x1 convolution where the shape changes."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1 or inputs != outputs:
            conv = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
            self.shortcut = nn.Sequential(conv, nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """x [N, C, H, W]."""
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(y + self.shortcut(x))


class ResNet18(nn.Module):
    """7x7 stem, max pool, four stages of two blocks, mean over pixels, classifier."""

    def __init__(self, num_classes: int = 1000) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, CHANNELS[0], 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(CHANNELS[0])
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        blocks = []
        inputs = CHANNELS[0]
        for stage, outputs in enumerate(CHANNELS):
            blocks.append(Block(inputs, outputs, 2 if stage else 1))
            blocks.append(Block(outputs, outputs, 1))
            inputs = outputs
        self.blocks = nn.Sequential(*blocks)
        self.fc = nn.Linear(inputs, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """[N, 3, H, W] -> [N, num_classes]."""
        x = self.blocks(self.maxpool(F.relu(self.bn1(self.conv1(x)))))
        logits: Tensor = self.fc(torch.mean(x, (2, 3)))
        return logits
