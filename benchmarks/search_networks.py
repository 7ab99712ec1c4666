"""The networks of `benchmarks.search`, and how much of everything a study takes."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bnn_compiler.search import data
from bnn_compiler.search.network import Task
from bnn_compiler.search.train import Settings
from bnn_compiler.zoo.mobinet import Block
from examples.small_reactnet import SmallReActNet

#: Where Debian's package dataset-fashion-mnist puts its IDX files.
FASHION = Path("/usr/share/datasets/fashion-mnist")
GROUPS = (1, 2, 4, 8, 16)


def channels() -> nn.Module:
    """A ReActNet-style network: the counts inside its blocks and of its resolutions are free."""
    return SmallReActNet()


class GroupNet(nn.Module):
    """Float stem, four of MoBiNet's blocks, float classifier; the full network has one group."""

    def __init__(self, channels: int = 128, classes: int = 10) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(1, channels, 3, 2, 1, bias=False), nn.BatchNorm2d(channels)
        )
        self.blocks = nn.Sequential(*(Block(channels, s, (0, 0)) for s in (2, 1, 2, 1)))
        self.fc = nn.Linear(channels, classes)

    def forward(self, x: Tensor) -> Tensor:
        """[N, 1, 32, 32] -> [N, 10]."""
        x = F.adaptive_avg_pool2d(self.blocks(self.stem(x)), 1)
        logits: Tensor = self.fc(torch.flatten(x, 1))
        return logits


def groups() -> nn.Module:
    """MoBiNet's blocks, whose group counts are free, and one count of channels for all."""
    return GroupNet()


@dataclass(frozen=True)
class Size:
    """How much of everything: images to train and to choose by, epochs, candidates."""

    images: int
    choose: int
    recipe: Settings
    supernet_epochs: int
    population: int
    generations: int
    finalists: int


FULL = Size(16_000, 4_000, Settings(8, batch=100, shift=1), 16, 20, 10, 8)
#: A first look: a quarter of the images and half of the epochs, some five core-hours in all.
FIRST = Size(4_000, 5_000, Settings(4, batch=50, shift=1), 10, 16, 5, 4)


@dataclass(frozen=True)
class Some(Task):
    """A task on the first images of its data."""

    images: int = 0
    chosen_by: int = 0

    @cached_property
    def splits(self) -> data.Splits:
        """The images."""
        found = data.load(self.source, seed=self.seed, size=self.shape[2])
        some = (found.train, self.images), (found.choose, self.chosen_by)
        train, choose = (data.Part(d, torch.arange(min(n, len(d)))) for d, n in some)
        return data.Splits(_in_memory(train), _in_memory(choose), found.test)


def _in_memory(part: data.Part) -> data.Labelled:
    if isinstance(part.data, data.Tensors):
        return data.Tensors(part.data.images[part.indices], part.data.labels[part.indices])
    return part


@dataclass(frozen=True)
class Network:
    """What one study searches: its factory, group counts to choose from, budgets as shares of the
    full network's time, the one first that is searched first.
    """

    factory: Callable[[], nn.Module]
    groups: tuple[int, ...]
    shares: tuple[float, ...]

    def task(self, source: str, folder: Path, size: Size, target: str) -> Some:
        """Its search."""
        model = f"{__name__}:{self.factory.__name__}"
        return Some(
            model, (1, 1, 32, 32), source, folder, size.recipe, size.supernet_epochs,
            target=target, groups=self.groups, images=size.images, chosen_by=size.choose,
        )  # fmt: skip


NETWORKS = {
    "channels": Network(channels, (), (0.3, 0.45, 0.2)),
    "groups": Network(groups, GROUPS, (0.35, 0.6, 0.2)),
}
