from torch import nn

from bnn_compiler.passes.fold_tile import FoldTile
from tests.network import Applied, after, anchors, computed, image, names


def folded(function, *layers):
    return after(Applied(function, *layers), image(6), FoldTile())


def ranges(graph):
    return [(int(t.attrs["start"]), int(t.attrs["channels"])) for t in anchors(graph, "tile")]


def test_channels_of_channels():
    assert ranges(folded(lambda x: x[:, 1:5][:, 2:4])) == [(3, 2)]
    assert ranges(folded(lambda x: x.repeat(1, 3, 1, 1)[:, 8:15])) == [(2, 7)]
    assert ranges(folded(lambda x: x.repeat(1, 3, 1, 1)[:, 6:11])) == [(0, 5)]


def test_all_channels_are_no_tile():
    assert names(folded(lambda x: x.repeat(1, 1, 1, 1)[:, :6] * 2)).count("bnn.tile") == 0
    assert names(folded(lambda x: x.repeat(1, 3, 1, 1)[:, 6:12] * 2)).count("bnn.tile") == 0


def test_must_not_fold_what_begins_again_in_another_place():
    assert ranges(folded(lambda x: x[:, 1:5].repeat(1, 2, 1, 1))) == [(1, 4), (0, 8)]


def test_the_value_is_the_same():
    def function(x, first):
        y = first(x)
        return y.repeat(1, 3, 1, 1)[:, 3:13][:, 2:9] + y[:, 1:].repeat(1, 2, 1, 1)[:, :7]

    _, found, wanted = computed(Applied(function, nn.Conv2d(6, 5, 3)).eval(), image(6, 8))
    assert abs(found - wanted).max() < 1e-5
