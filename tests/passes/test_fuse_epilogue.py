import pytest
import torch
import torch.nn.functional as F
from torch import nn

from bnn_compiler.nn import BinaryConv2d, Sign
from bnn_compiler.ops.relax_ops import epilogue_of
from bnn_compiler.passes.binarize_conv import BinarizeConv
from bnn_compiler.passes.fold_affine import FoldAffine
from bnn_compiler.passes.fold_tile import FoldTile
from bnn_compiler.passes.fuse_epilogue import FuseEpilogue
from bnn_compiler.passes.merge_duplicated_conv import MergeDuplicatedConv
from bnn_compiler.zoo.reactnet import Block
from tests.network import Applied, after, anchors, image, names

PASSES = (BinarizeConv(), FoldAffine(), MergeDuplicatedConv(), FuseEpilogue())


def test_a_reactnet_block_is_two_convolutions():
    graph = after(Block(8, 16, 2, 0), image(8), *PASSES)
    assert names(graph) == ["permute_dims", "bnn.map", "bnn.conv2d", "bnn.conv2d", "permute_dims"]
    first, second = (epilogue_of(c) for c in anchors(graph, "conv2d"))
    kinds = [s.kind for s in first.steps]
    assert kinds == ["affine", "add_avg2", "bias", "prelu", "bias"]
    assert [o.is_bits for o in first.outputs] == [False, True]
    assert [s.kind for s in second.steps][:2] == ["affine", "add_tile"]
    assert [o.is_bits for o in second.outputs] == [False]


def test_epilogue_text_round_trip():
    (conv, _) = anchors(after(Block(8, 8, 1, 0), image(8), *PASSES), "conv2d")
    epilogue = epilogue_of(conv)
    assert (
        type(epilogue).parse(
            **dict(zip(("epilogue", "outputs"), epilogue.attrs().values(), strict=True))
        )
        == epilogue
    )


def kinds(call):
    return [s.kind for s in epilogue_of(call).steps]


def conv(kernel, stride=1, padding=0):
    return nn.Conv2d(4, 4, kernel, stride, padding, bias=False)


def fused(function, *layers):
    return after(Applied(function, *layers), image(4, 8), *PASSES)


def test_a_value_with_two_readers_keeps_them():
    graph = fused(lambda x, layer: F.relu(y := layer(x)) + 2 * y, conv(1))
    assert [kinds(c) for c in anchors(graph, "float_conv2d")] == [[]]
    assert [kinds(m) for m in anchors(graph, "map")] == [["affine"], ["clip", "add"]]


def test_an_output_stays_a_value_of_its_own():
    graph = fused(lambda x, layer: ((y := layer(x)), F.relu(y)), conv(1))
    assert [kinds(c) for c in anchors(graph, "float_conv2d")] == [[]]
    assert [kinds(m) for m in anchors(graph, "map")] == [["clip"]]


def test_nothing_is_absorbed_through_a_change_of_layout():
    graph = fused(lambda x, layer: F.relu(layer(x).reshape(1, 16, 4, 4)), conv(1))
    assert [kinds(c) for c in anchors(graph, "float_conv2d")] == [[]]


@pytest.mark.parametrize(
    ("pool", "size", "step"),
    [
        ((2,), (1, 2), "add_avg2"),
        ((2, 1), (2, 1), "add"),
        ((3, 2), (3, 2), "add"),
        ((2, 2, 1), (2, 2, 1), "add"),
        (((2, 1), 2), (1, 2), "add"),
    ],
)
def test_only_a_pool_of_two_by_two_is_read_in_place(pool, size, step):
    graph = fused(lambda x, layer: layer(x) + F.avg_pool2d(x, *pool), conv(*size))
    (call,) = anchors(graph, "float_conv2d")
    assert kinds(call) == [step]
    assert len(anchors(graph, "avg_pool2d")) == (step == "add")


def test_a_pool_with_another_reader_is_not_read_in_place():
    def function(x, layer):
        pooled = F.avg_pool2d(x, 2)
        return layer(x) + pooled, pooled

    graph = fused(function, conv(1, 2))
    assert [kinds(c) for c in anchors(graph, "float_conv2d")] == [["add"]]
    assert len(anchors(graph, "avg_pool2d")) == 1


SHORTCUTS = {
    "leading": (8, 1, lambda x: x[:, :4], "add"),
    "repeated": (3, 1, lambda x: x.repeat(1, 2, 1, 1)[:, :4], "add_tile"),
    "doubled": (2, 1, lambda x: torch.cat((x, x), 1), "add_tile"),
    "padded": (3, 1, lambda x: F.pad(x, (0, 0, 0, 0, 0, 1)), "add_pad"),
    "averaged, leading": (8, 2, lambda x: F.avg_pool2d(x, 2)[:, :4], "add_avg2"),
    "averaged, repeated": (
        3,
        2,
        lambda x: F.avg_pool2d(x, 2).repeat(1, 2, 1, 1)[:, :4],
        "add_avg2_tile",
    ),
}


@pytest.mark.parametrize("name", SHORTCUTS)
def test_a_shortcut_of_other_channels_is_read_in_place(name):
    inputs, stride, shortcut, kind = SHORTCUTS[name]
    layer = nn.Conv2d(inputs, 4, 1, stride, bias=False)
    module = Applied(lambda x, layer: layer(x) + shortcut(x), layer)
    graph = after(module, image(inputs, 8), FoldTile(), *PASSES)
    (call,) = anchors(graph, "float_conv2d")
    assert kinds(call) == [kind]
    assert names(graph) == ["permute_dims", "bnn.float_conv2d", "permute_dims"]


def test_other_channels_that_are_not_read_in_place():
    graph = fused(lambda x, layer: layer(x) + F.pad(x[:, 1:], (0, 0, 0, 0, 0, 1)), conv(1))
    assert [kinds(c) for c in anchors(graph, "float_conv2d")] == [["add_pad"]]
    assert len(anchors(graph, "tile")) == 1
    graph = fused(lambda x, layer: layer(x) + F.pad(x[:, 1:], (0, 0, 0, 0, 1, 0)), conv(1))
    assert [kinds(c) for c in anchors(graph, "float_conv2d")] == [["add"]]
    assert len(anchors(graph, "pad_channels")) == 1


def test_what_follows_a_value_whose_sign_is_taken_is_not_absorbed():
    graph = fused(
        lambda x, layer, sign, binary: binary(sign(y := layer(x))) + F.relu(y),
        conv(1),
        Sign(),
        BinaryConv2d(4, 4, 1),
    )
    (first,), (second,) = anchors(graph, "float_conv2d"), anchors(graph, "conv2d")
    assert kinds(first) == [] and [o.is_bits for o in epilogue_of(first).outputs] == [False, True]
    assert kinds(second)[-1] == "add"
    assert [kinds(m) for m in anchors(graph, "map")] == [["clip"]]


def test_a_scale_of_one_is_a_shift():
    graph = fused(lambda x, layer: (layer(x) + 1.5).clamp(-1, 1) * 2, conv(1))
    assert [kinds(c) for c in anchors(graph, "float_conv2d")] == [["bias", "clip", "affine"]]


def test_a_fused_module_stays_as_it_is():
    module = fused(lambda x, layer: F.relu(layer(x)) + x, conv(1)).module()
    assert FuseEpilogue()(module).script() == module.script()
