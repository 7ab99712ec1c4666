from bnn_compiler.passes.binarize_conv import BinarizeConv
from bnn_compiler.passes.fold_affine import FoldAffine
from bnn_compiler.passes.merge_duplicated_conv import MergeDuplicatedConv
from bnn_compiler.zoo.reactnet import Block
from tests.network import after, image, names

PASSES = (BinarizeConv(), FoldAffine(), MergeDuplicatedConv())


def test_duplicated_branches_are_one_convolution_on_a_tiled_shortcut():
    found = names(after(Block(8, 16, 1, 0), image(8), *PASSES))
    assert found.count("bnn.conv2d") == 2
    assert "bnn.tile" in found and "concat" not in found


def test_must_not_fire_on_float_branches():
    assert "concat" in names(after(Block(8, 16, 1, 1), image(8), *PASSES))
