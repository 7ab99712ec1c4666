"""The networks whose variants are timed: between them, every kind of layer at usual sizes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from bnn_compiler import zoo
from bnn_compiler.latency.variants import Variants
from bnn_compiler.network import Network
from bnn_compiler.nn import BinaryConv2d, RPReLU, RSign, Sign
from bnn_compiler.options import Options
from bnn_compiler.plan.plan import plan
from bnn_compiler.zoo import reactnet


class _Pair(nn.Module):
    """ReActNet's block without the shortcut that ties its outputs to its inputs."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv3, self.conv1 = (
            BinaryConv2d(inputs, inputs, 3, stride=stride, padding=1),
            BinaryConv2d(inputs, outputs, 1),
        )
        self.sign3, self.sign1 = RSign(inputs), RSign(inputs)
        self.bn3, self.bn1 = nn.BatchNorm2d(inputs), nn.BatchNorm2d(outputs)
        self.act3, self.act1 = RPReLU(inputs), RPReLU(outputs)
        self.pool = nn.AvgPool2d(2, 2) if stride == 2 else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """x [N, C, H, W]."""
        x = self.act3(self.bn3(self.conv3(self.sign3(x))) + self.pool(x))
        y: Tensor = self.act1(self.bn1(self.conv1(self.sign1(x))))
        return y


class _Single(nn.Module):
    """Bi-Real Net's block with a float shortcut, which any channels can pass."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.sign, self.bn = Sign(), nn.BatchNorm2d(outputs)
        self.conv = BinaryConv2d(inputs, outputs, 3, stride=stride, padding=1)
        self.shortcut = nn.Sequential(
            nn.AvgPool2d(2, 2) if stride == 2 else nn.Identity(),
            nn.Conv2d(inputs, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )

    def forward(self, x: Tensor) -> Tensor:
        """x [N, C, H, W]."""
        y: Tensor = self.bn(self.conv(self.sign(x))) + self.shortcut(x)
        return y


def chain(block: Callable[[int, int, int], nn.Module], channels: Sequence[int]) -> nn.Module:
    """A stem, blocks with free channels between them, and a classifier."""
    steps = list(enumerate(pairwise(channels)))
    return nn.Sequential(
        nn.Conv2d(3, channels[0], 3, 2, 1, bias=False),
        nn.BatchNorm2d(channels[0]),
        *(block(a, b, 2 if b > a and i else 1) for i, (a, b) in steps),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(channels[-1], 1000),
    )


_SINGLES = (64, 64, 64, 128, 128, 256, 256, 512, 512)


@dataclass(frozen=True)
class Template:
    """A network and the shape of its input; ``name`` says both."""

    name: str
    make: Callable[[], nn.Module]
    shape: tuple[int, int, int, int]

    def variants(self) -> Variants:
        """Import and plan it: some seconds."""
        model, x = self.make().eval(), torch.zeros(self.shape)
        return Variants.of(plan(Network.of(model, (x,)).fused(Options())))


def _image(side: int, batch: int = 1) -> tuple[int, int, int, int]:
    return batch, 3, side, side


#: What programs take turns with, so that a slow minute of the machine can be told.
REFERENCE = Template("reference", lambda: zoo.reactnet_a(width=0.5), _image(128))

#: In the order in which their variants are timed, again and again.
TEMPLATES = (
    Template("pairs@224", lambda: chain(_Pair, reactnet.CHANNELS), _image(224)),
    Template("birealnet18@224", zoo.birealnet18, _image(224)),
    Template("mobinet@224", zoo.mobinet, _image(224)),
    Template("singles@224", lambda: chain(_Single, _SINGLES), _image(224)),
    Template("reactnet_a@224", zoo.reactnet_a, _image(224)),
    Template("mobinet@112", zoo.mobinet, _image(112)),
    Template("pairs@96", lambda: chain(_Pair, reactnet.CHANNELS), _image(96)),
    Template("bireal_depth@128", lambda: zoo.bireal_depth(width=0.5), _image(128)),
    Template("pairs@32", lambda: chain(_Pair, reactnet.CHANNELS[:7]), _image(32)),
    Template("pairs@64x4", lambda: chain(_Pair, reactnet.CHANNELS), _image(64, 4)),
)
