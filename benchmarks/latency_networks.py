"""The networks of `benchmarks.latency_model` at any channels, as modules, and random plans."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from random import Random

import torch
from torch import Tensor, nn

from bnn_compiler import zoo
from bnn_compiler.nn import BinaryConv2d, RPReLU, RSign, Sign
from bnn_compiler.zoo.mobinet import PLAN, MoBiNet
from bnn_compiler.zoo.reactnet import CHANNELS

Plan = dict[str, int]


class _ReActBlock(nn.Module):
    """ReActNet-A's block for any channels: the 1x1's shortcut is the identity where they are
    equal, a duplicate where they double, and else absent.
    """

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.sign1, self.sign2 = RSign(inputs), RSign(inputs)
        self.act1, self.act2 = RPReLU(inputs), RPReLU(outputs)
        self.conv3 = BinaryConv2d(inputs, inputs, 3, stride=stride, padding=1)
        self.bn3 = nn.BatchNorm2d(inputs)
        self.pool = nn.AvgPool2d(2, 2) if stride == 2 else nn.Identity()
        self.shortcut = outputs in (inputs, 2 * inputs)
        parts = [inputs, inputs] if outputs == 2 * inputs else [outputs]
        self.points = nn.ModuleList(BinaryConv2d(inputs, p, 1) for p in parts)
        self.norms = nn.ModuleList(nn.BatchNorm2d(p) for p in parts)

    def forward(self, x: Tensor) -> Tensor:
        y = self.act1(self.bn3(self.conv3(self.sign1(x))) + self.pool(x))
        bits = self.sign2(y)
        parts = [norm(point(bits)) for point, norm in zip(self.points, self.norms, strict=True)]
        if self.shortcut:
            parts = [part + y for part in parts]
        return self.act2(parts[0] if len(parts) == 1 else torch.cat(parts, 1))


class _BiRealBlock(nn.Module):
    """Bi-Real Net's block for any channels."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.sign, self.bn = Sign(), nn.BatchNorm2d(outputs)
        self.conv = BinaryConv2d(inputs, outputs, 3, stride=stride, padding=1)
        pool = nn.AvgPool2d(2, 2) if stride == 2 else nn.Identity()
        self.shortcut = (
            nn.Identity()
            if inputs == outputs and stride == 1
            else nn.Sequential(
                pool, nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs)
            )
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.bn(self.conv(self.sign(x))) + self.shortcut(x)


def _classifier(channels: int) -> list[nn.Module]:
    return [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 1000)]


def reactnet(plan: Mapping[str, int]) -> nn.Module:
    """ReActNet-A with the channels "0" to "13"."""
    table = [plan[str(i)] for i in range(len(CHANNELS))]
    strides = [2 if a != b and i else 1 for i, (a, b) in enumerate(pairwise(CHANNELS))]
    blocks = [_ReActBlock(a, b, s) for (a, b), s in zip(pairwise(table), strides, strict=True)]
    stem = nn.Conv2d(3, table[0], 3, 2, 1, bias=False)
    return nn.Sequential(stem, nn.BatchNorm2d(table[0]), *blocks, *_classifier(table[-1]))


def birealnet18(plan: Mapping[str, int]) -> nn.Module:
    """Bi-Real-18 with the channels "0" to "7", one for each half of a stage."""
    table = [plan[str(i // 2)] for i in range(16)]
    stem: list[nn.Module] = [
        nn.Conv2d(3, table[0], 7, 2, 3, bias=False),
        nn.BatchNorm2d(table[0]),
        nn.MaxPool2d(3, 2, 1),
    ]
    inputs = [table[0], *table]
    blocks = [
        _BiRealBlock(a, b, 2 if i in (4, 8, 12) else 1) for i, (a, b) in enumerate(pairwise(inputs))
    ]
    return nn.Sequential(*stem, *blocks, *_classifier(table[-1]))


def mobinet(plan: Mapping[str, int]) -> nn.Module:
    """Grouped MobileNet with "channels", and channels per group of each convolution "0" to "15"."""
    groups = [plan[str(i)] for i in range(2 * len(PLAN))]
    pairs = list(zip(groups[::2], groups[1::2], strict=True))
    return MoBiNet(plan["channels"], pairs, in_channels=3, num_classes=1000)


def _some(random: Random, full: Sequence[int]) -> list[int]:
    """Channels from a tenth to all of ``full``; half of the draws scale them nearly alike."""
    alike = random.uniform(0.15, 1.0) if random.random() < 0.5 else None
    found = []
    for count in full:
        share = alike * random.uniform(0.8, 1.25) if alike else random.uniform(0.1, 1.0)
        found.append(max(4, round(count * min(1.0, max(0.1, share)))))
    return found


def _some_reactnet(random: Random) -> Plan:
    if random.random() < 1 / 3:
        # A width for each stage, so that shortcuts exist.
        widths = dict(zip(sorted(set(CHANNELS)), _some(random, sorted(set(CHANNELS))), strict=True))
        return {str(i): widths[c] for i, c in enumerate(CHANNELS)}
    return {str(i): c for i, c in enumerate(_some(random, CHANNELS))}


def _some_birealnet18(random: Random) -> Plan:
    stages = (64, 64, 128, 128, 256, 256, 512, 512)
    found = _some(random, stages)
    if random.random() < 0.5:
        found = [found[i // 2 * 2] for i in range(len(stages))]
    return {str(i): c for i, c in enumerate(found)}


def _some_mobinet(random: Random) -> Plan:
    channels = random.choice([8 * k for k in range(4, 33)])
    sizes = [g for g in range(1, channels + 1) if channels % g == 0]
    return {"channels": channels, **{str(i): random.choice(sizes) for i in range(2 * len(PLAN))}}


@dataclass(frozen=True)
class Network:
    """How to draw a plan of a network, and the module of a plan."""

    draw: Callable[[Random], Plan]
    module: Callable[[Mapping[str, int]], nn.Module]

    def make(self, plan: Mapping[str, int]) -> nn.Module:
        """With random weights under which every layer is compiled as in a trained network."""
        model = self.module(plan)
        zoo.randomize(model, torch.zeros(1, 3, 64, 64))
        return model


NETWORKS = {
    "reactnet_a": Network(_some_reactnet, reactnet),
    "birealnet18": Network(_some_birealnet18, birealnet18),
    "mobinet": Network(_some_mobinet, mobinet),
}
