"""Moved channels in front of a binary convolution are an order of its weights."""

import pytest
import torch
from torch.nn import functional as F

from tests.author_style import where_sign as sign
from tests.network import Applied, anchors, assert_agrees, names

X, ORDER = torch.randn(2, 8, 5, 6), torch.randperm(8)


def shuffled(x, groups):
    n, c, h, w = x.shape
    return x.view(n, groups, c // groups, h, w).transpose(1, 2).reshape(n, c, h, w)


def graph_of(move, groups=1):
    """Of a convolution of moved signs; it is binary."""
    weight = torch.randn(8, move(X).shape[1] // groups, 3, 3)

    def network(x):
        return F.conv2d(move(0.5 * sign(x)), sign(weight), None, 1, 1, 1, groups)

    graph = assert_agrees(Applied(network), X)
    assert len(anchors(graph, "conv2d")) == 1
    return graph


@pytest.mark.parametrize(
    "move",
    [
        lambda b: shuffled(b, 2),
        lambda b: shuffled(shuffled(b, 4), 2),
        lambda b: torch.cat(b.chunk(2, 1)[::-1], 1),
        lambda b: b.flip(1),
        lambda b: b[:, ORDER],
    ],
)
def test_another_order_of_channels(move):
    assert not {"bnn.general", "bnn.tile"} & set(names(graph_of(move)))


def test_some_channels():
    graph = graph_of(lambda b: shuffled(shuffled(b, 2), 4)[:, 2:6])
    assert "bnn.general" not in names(graph)
    (tile,) = anchors(graph, "tile")
    assert (int(tile.attrs["start"]), int(tile.attrs["channels"])) == (2, 4)


def test_groups():
    inside = graph_of(lambda b: b.view(2, 2, 4, 5, 6).flip(2).reshape(2, 8, 5, 6), groups=2)
    assert "bnn.general" not in names(inside)
    assert "bnn.general" in names(graph_of(lambda b: shuffled(b, 2), groups=2))


@pytest.mark.parametrize(
    "move",
    [
        lambda b: b.flip(3),
        lambda b: b.transpose(2, 3),
        lambda b: F.pixel_shuffle(b, 2),
        lambda b: b[:, [0, 0, 1, 2, 3, 3, 4, 5]],
    ],
)
def test_other_moves_stay(move):
    assert "bnn.general" in names(graph_of(move))


def test_weights_of_floats_keep_their_order():
    weight = torch.randn(4, 8, 3, 3)
    network = Applied(lambda x: F.conv2d(shuffled(sign(x), 2), weight))
    assert "bnn.general" in names(assert_agrees(network, X))
