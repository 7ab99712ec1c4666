"""Shortcuts between channels that are not tied, as users write them."""

import random
from itertools import pairwise, product

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from bnn_compiler.errors import PlanError
from bnn_compiler.latency.space import PlanSpace
from bnn_compiler.nn import BinaryConv2d, Shortcut, Sign
from tests.latency.networks import fresh, residual


class Chain(nn.Module):
    """Binary 3x3s with shortcuts: ``join`` (x, y) around each."""

    def __init__(self, join, *channels):
        super().__init__()
        self.stem = nn.Conv2d(3, channels[0], 1)
        self.sign, self.join = Sign(), join
        self.convs = nn.ModuleList(BinaryConv2d(a, b, 1) for a, b in pairwise(channels))
        self.norms = nn.ModuleList(nn.BatchNorm2d(b) for b in channels[1:])
        self.head = nn.Conv2d(channels[-1], 4, 1)

    def forward(self, x):
        x = self.stem(x)
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = self.join(x, norm(conv(self.sign(x))))
        return self.head(x)


def space_of(join, *channels):
    torch.manual_seed(0)
    return PlanSpace.of(Chain(join, *channels).eval(), (torch.zeros(1, 3, 6, 6),))


def joined(x, y):
    times = -(-y.shape[1] // x.shape[1])
    return y + torch.cat([x] * times, 1)[:, : y.shape[1]]


def padded(x, y):
    return F.pad(x, (0, 0, 0, 0, 0, y.shape[1] - x.shape[1])) + y


def cut(x, y):
    return y + x[:, : y.shape[1]]


JOINS = {
    "joined": (joined, (12, 20, 30, 20)),
    "padded": (padded, (12, 20, 30, 20)),
    "Shortcut": (Shortcut(), (20, 20, 12, 12)),
}


@pytest.mark.parametrize("name", JOINS)
def test_every_convolution_is_free(name):
    join, channels = JOINS[name]
    space = space_of(join, *channels)
    assert list(space.groups.values()) == list(channels)
    r = random.Random(name)
    for _ in range(3):
        plan = {g: r.randint(1, full) for g, full in space.groups.items()}
        assert space.kernels(plan) == fresh(space, plan, 6), plan


def test_every_way_that_a_shortcut_can_be():
    """More, fewer and as many channels, in all combinations, from one template."""
    space = space_of(joined, 30, 30, 30)
    for a, b in product((-1, 0, 1), repeat=2):
        plan = {"stem": 15, "convs.0": 15 + 2 * a, "convs.1": 15 + 2 * a + 3 * b}
        assert space.kernels(plan) == fresh(space, plan, 6), plan
    assert len(space._templates) == 1


def test_a_shortcut_that_only_cuts():
    space = space_of(cut, 30, 24, 24, 10)
    plan = {"stem": 20, "convs.0": 20, "convs.1": 7, "convs.2": 7}
    assert space.kernels(plan) == fresh(space, plan, 6)
    for ask in (space.check, space.kernels, space.crop):
        with pytest.raises(PlanError, match="it keeps 24 of 20 channels"):
            ask({"stem": 20})


class Kept(nn.Module):
    """Counts its channels by itself."""

    def __init__(self, channels):
        super().__init__()
        self.channels = channels

    def forward(self, x, y):
        return y + x[:, : self.channels]


def test_a_count_that_a_module_keeps_is_cropped():
    space = space_of(Kept(16), 30, 16)
    plan = {"stem": 17, "convs.0": 9}
    assert space.crop(plan).join.channels == 9
    assert space.kernels(plan) == fresh(space, plan, 6)


def test_channels_that_no_sum_asks_for_stay():
    class Half(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Conv2d(3, 16, 1), nn.Conv2d(8, 12, 1)
            self.last = nn.Conv2d(12, 4, 1)

        def forward(self, x):
            return self.last(self.second(self.first(x)[:, :8]))

    space = PlanSpace.of(Half(), (torch.zeros(1, 3, 6, 6),))
    assert space.groups == {"second": 12}
    assert space.kernels({"second": 5}) == fresh(space, {"second": 5}, 6)


def test_a_crop_computes_with_leading_channels_in_turn():
    space = PlanSpace.of(residual(), (torch.zeros(1, 3, 16, 16),))
    counts = dict(zip(space.groups, (7, 20, 9, 40, 3, 8), strict=True))
    pruned = space.crop(counts)
    x = torch.randn(1, 3, 16, 16)
    seen = []
    for shortcut in pruned.shortcuts:
        shortcut.register_forward_hook(lambda _, given, out: seen.append((*given, out)))
    pruned(x)
    assert [given.shape[1] for given, *_ in seen] == [7, 20, 9, 40, 3]
    for given, own, out in seen:
        stride = given.shape[2] // own.shape[2]
        other = F.avg_pool2d(given, stride)[:, torch.arange(own.shape[1]) % given.shape[1]]
        assert torch.equal(out, own + other)


def test_what_is_not_cut_by_its_tensors_counts_is_tied():
    """A repetition that is never cut, and an alias that is no slice."""

    def doubled(x, y):
        return y + x.repeat(1, y.shape[1] // x.shape[1], 1, 1)

    space = space_of(doubled, 20, 20, 20)
    assert space.groups == {"stem": 20}
    assert space.kernels({"stem": 9}) == fresh(space, {"stem": 9}, 6)
