from bnn_compiler.ops.relax_ops import epilogue_of
from bnn_compiler.passes.binarize_conv import BinarizeConv
from bnn_compiler.passes.fold_affine import FoldAffine
from bnn_compiler.passes.fuse_epilogue import FuseEpilogue
from bnn_compiler.passes.merge_duplicated_conv import MergeDuplicatedConv
from bnn_compiler.zoo.reactnet import Block
from tests.network import after, anchors, image, names

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
