"""A small network of a plan, and its space."""

import torch
from torch import nn

from bnn_compiler.nn import BinaryConv2d, RPReLU, RSign
from bnn_compiler.search.factory import Factory

FULL = {"a": 16, "b": 24, "conv2.groups": 1}


class Net(nn.Module):
    """A stem of a channels; binary 3x3: a -> a with a shortcut, a -> b, b -> b in groups."""

    def __init__(self, a, b, groups):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, a, 3, 2, 1, bias=False), nn.BatchNorm2d(a))
        self.sign0, self.conv0, self.norm0 = RSign(a), BinaryConv2d(a, a, 3, padding=1), norm(a)
        self.sign1, self.conv1, self.norm1 = RSign(a), BinaryConv2d(a, b, 3, padding=1), norm(b)
        self.act = RPReLU(b)
        self.sign2 = RSign(b)
        self.conv2 = BinaryConv2d(b, b, 3, padding=1, groups=groups)
        self.norm2 = norm(b)
        self.fc = nn.Linear(b, 4)

    def forward(self, x):
        x = self.stem(x)
        x = self.norm0(self.conv0(self.sign0(x))) + x
        x = self.act(self.norm1(self.conv1(self.sign1(x))))
        x = self.norm2(self.conv2(self.sign2(x))) + x
        return self.fc(x.mean((2, 3)))


def norm(channels):
    return nn.BatchNorm2d(channels)


def build(plan):
    return Net(plan["a"], plan["b"], plan["conv2.groups"])


def space(seed=0):
    torch.manual_seed(seed)
    found = Factory(build, FULL)
    for n, p in found.model.named_parameters():
        if p.dim() == 1 or "bias" in n:
            p.data += torch.randn_like(p) * 0.1
    return found


def quadrants(count, seed=0):
    """Images whose bright quadrant is the label."""
    g = torch.Generator().manual_seed(seed)
    labels = torch.randint(4, (count,), generator=g)
    images = torch.randn(count, 1, 12, 12, generator=g) * 0.5
    for image, label in zip(images, labels.tolist(), strict=True):
        y, x = label // 2 * 6, label % 2 * 6
        image[0, y : y + 6, x : x + 6] += 1.0
    return images, labels
