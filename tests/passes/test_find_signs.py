"""Whatever takes two numbers only is read as bits: moved signs, comparisons, choices."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from bnn_compiler.passes.facts import Fact
from bnn_compiler.passes.find_signs import levels
from bnn_compiler.passes.lattice import listed
from tests.author_style import where_sign as sign
from tests.network import Applied, anchors, assert_agrees

X, T = torch.randn(2, 8, 6, 8), torch.randn(1, 8, 1, 1) * 0.3
ORDER = torch.randperm(8)


def shuffled(x, groups=2):
    n, c, h, w = x.shape
    return x.view(n, groups, c // groups, h, w).transpose(1, 2).reshape(n, c, h, w)


def kernels(function, padding=1, groups=1):
    """(binary convolutions, float ones) of a convolution of a function of the image X."""
    weight = torch.randn(8, function(X).shape[1] // groups, 3, 3)

    def network(x):
        return F.conv2d(function(x), sign(weight), None, 1, padding, 1, groups)

    graph = assert_agrees(Applied(network), X)
    return len(anchors(graph, "conv2d")), len(anchors(graph, "float_conv2d"))


MOVES = {
    "shuffled": shuffled,
    "channel_shuffle": lambda b: F.channel_shuffle(b, 4),
    "halves swapped": lambda b: torch.cat(b.chunk(2, 1)[::-1], 1),
    "every second channel": lambda b: b[:, ::2],
    "every second pixel": lambda b: b[:, :, ::2, 1::2],
    "channels in an order": lambda b: b[:, ORDER],
    "flipped": lambda b: b.flip(1, 3),
    "rolled": lambda b: b.roll((1, 2), (2, 3)),
    "turned": lambda b: torch.rot90(b, 1, (2, 3)),
    "upsampled": lambda b: F.interpolate(b, scale_factor=2),
    "repeated": lambda b: b.repeat_interleave(2, 2).repeat_interleave(2, 3),
    "pixel_shuffle": lambda b: F.pixel_shuffle(b, 2),
    "pixel_unshuffle": lambda b: F.pixel_unshuffle(b, 2),
    "other images": lambda b: b.reshape(4, 8, 3, 8),
    "reflected": lambda b: F.pad(b, (1, 1, 1, 1), mode="reflect"),
    "padded by 1": lambda b: shuffled(F.pad(b, (1, 1, 1, 1), value=1.0)),
    "more channels": lambda b: shuffled(F.pad(b, (0, 0, 0, 0, 4, 4), value=-1.0)),
    "pooled between": lambda b: F.max_pool2d(shuffled(F.max_pool2d(b, 2)), 2),
    "signs again": lambda b: torch.sign(shuffled(b)),
    "in columns": lambda b: F.unfold(b, 3).view(2, 72, 4, 6)[:, ::3],
}


@pytest.mark.parametrize("move", MOVES)
def test_moved_signs(move):
    assert kernels(lambda x: MOVES[move](sign(x + T))) == (1, 0)


LEVELS = {
    "scaled": lambda x: shuffled(0.37 * sign(x)),
    "0 and 1": lambda x: shuffled((x > 0).float()),
    "centred": lambda x: shuffled(0.6 * sign(x - 0.1) + 0.2),
    "of several thresholds": lambda x: torch.cat([0.7 * sign(x - 0.5), 0.7 * sign(x + T)], 1),
    "stacked": lambda x: torch.stack([sign(x), sign(x - 0.5)], 2).flatten(1, 2),
    "pooled and negated": lambda x: -F.max_pool2d(-0.5 * sign(x), 2),
    "two masks": lambda x: ((x > 0) ^ (x > T)).float() * 2 - 1,
    "a comparison": lambda x: torch.where(x > x.mean((2, 3), keepdim=True), 1.0, -0.5),
    "a choice": lambda x: torch.where(x.mean(1, keepdim=True) > 0, sign(x), -sign(x)),
    "negated in some channels": lambda x: sign(x) * torch.sign(T),
    "a product": lambda x: shuffled(sign(x)) * sign(x),
    "the larger": lambda x: torch.maximum(sign(x), sign(x - T)),
}


@pytest.mark.parametrize("found", LEVELS)
def test_two_levels(found):
    assert kernels(LEVELS[found]) == (1, 0)


@pytest.mark.parametrize("scale", [1.0, 0.5])
@pytest.mark.parametrize("value", [-1.0, 0.0, 1.0])
def test_padded_twice(scale, value):
    assert kernels(lambda x: F.pad(scale * sign(x), (1, 2, 0, 1), value=scale * value)) == (1, 0)


@pytest.mark.parametrize("groups", [2, 8])
def test_groups(groups):
    assert kernels(lambda x: shuffled(sign(x)), groups=groups) == (1, 0)


THREE = {
    "zeros of a relu": lambda x: shuffled(torch.sign(F.relu(x))),
    "padded by 0": lambda x: shuffled(F.pad(sign(x), (1, 1, 1, 1))),
    "a sum of signs": lambda x: sign(x) + sign(x - T),
    "rounded": lambda x: torch.round(x.clamp(-1, 1)),
    "rounded by a distance": lambda x: torch.round(x / 0.3).clamp(-1, 1) * 0.3,
}


@pytest.mark.parametrize("found", THREE)
def test_zeros_are_planes(found):
    binary, floats = kernels(THREE[found], padding=0)
    assert floats == 0
    assert 1 <= binary <= 2


def test_what_takes_more_numbers_stays_float():
    assert kernels(lambda x: sign(x) + 0.5 * sign(x - T)) == (0, 1)
    assert kernels(lambda x: F.avg_pool2d(sign(x), 2)) == (0, 1)


JOINED = {
    "two": lambda x: torch.cat([sign(x), 0.5 * sign(x - T)], 1),
    "of them bits": lambda x: torch.cat([0.2 * sign(x), (x > T).float(), shuffled(sign(x))], 1),
    "padded": lambda x: F.pad(torch.cat([sign(x), 0.5 * sign(x - T)], 1), (1, 1, 0, 1)),
}


@pytest.mark.parametrize("what", JOINED)
def test_joined_channels_of_other_scales_are_a_convolution_each(what):
    assert kernels(JOINED[what]) == (3 if what == "of them bits" else 2, 0)
    assert kernels(JOINED[what], groups=2)[0] == 0


SUM = torch.randn(8, 8, 3, 3)
BESIDE = {
    "cut at 0": F.relu,
    "masked": lambda y: y * (y.flip(3) > 0).float(),
    "rounded": torch.round,
}


@pytest.mark.parametrize("what", BESIDE)
def test_a_float_sum_of_signs_takes_others_beside_its_zeros(what):
    def function(x):
        return BESIDE[what](F.conv2d(sign(x), SUM, padding=1)) + sign(x - T)

    assert kernels(function) == (0, 2)


def _fact(*atoms, only=True):
    numbers = np.array(atoms, float)
    ends = np.nanmin(numbers, 0), np.nanmax(numbers, 0)
    return Fact(*ends, listed(list(numbers)), True, frozenset(), only=only)


def test_levels():
    nan = np.nan
    two = levels(_fact([-1, 0.0], [1, 2.0]))
    assert two.half == 1
    assert two.zero == 1
    np.testing.assert_array_equal(two.center, [0, 1])
    # A channel of one number: it is one of the signs, or one above a center of its own.
    one = levels(_fact([-1, -1.0], [1, nan]))
    np.testing.assert_array_equal(one.center, [0, 0])
    one = levels(_fact([-1, 5.0], [1, nan]))
    np.testing.assert_array_equal(one.center, [0, 4])
    three = levels(_fact([-0.5, 0.0], [0, 0.5], [0.5, nan]))
    assert (three.half, three.zero) == (0.5, 0)
    assert levels(_fact([-1.0], [1.0], only=False)) is None
    assert levels(_fact([-1.0], [0.5], [1.0])) is None
    assert levels(_fact([-1, -2.0], [1, 2.0])) is None
    assert levels(_fact([1.0, 2.0])) is None
