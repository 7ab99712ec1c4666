import numpy as np
from torch import nn
from torch.nn import functional as F

from bnn_compiler.nn import BinaryConv2d, RSign, Sign
from bnn_compiler.ops.graph import array
from bnn_compiler.passes.binarize_conv import BinarizeConv
from bnn_compiler.passes.fold_affine import FoldAffine, is_sign_bits
from tests.network import Applied, after, image, names


def test_scale_and_batch_norm_are_one_affine():
    model = nn.Sequential(Sign(), BinaryConv2d(5, 8, 3), nn.BatchNorm2d(8))
    before = after(model, image(5), BinarizeConv())
    assert names(before).count("bnn.affine") == 2
    assert names(after(model, image(5), BinarizeConv(), FoldAffine())).count("bnn.affine") == 1


def test_a_shift_before_a_sign_is_its_threshold():
    model = nn.Sequential(RSign(5), BinaryConv2d(5, 8, 3, scale=False))
    model[0][0].bias.data.uniform_(-1, 1)
    graph = after(model, image(5), BinarizeConv(), FoldAffine())
    assert "bnn.affine" not in names(graph)
    (sign,) = [v for v in graph.values.values() if is_sign_bits(v)]
    np.testing.assert_array_equal(array(sign.args[1]), -model[0][0].bias.detach().numpy().ravel())


def test_must_not_fold_a_scale_into_a_threshold():
    model = nn.Sequential(nn.BatchNorm2d(5), Sign(), BinaryConv2d(5, 8, 3, scale=False))
    model[0].weight.data.fill_(2)
    assert "bnn.affine" in names(after(model, image(5), BinarizeConv(), FoldAffine()))


def test_must_not_make_a_residue_of_a_common_zero():
    """(max(x, -3) + 3) * 0.3 is 0 where the clamp cuts; 0.3 * max(x, -3) + 0.9 is not."""
    for low, affines in ((-3.0, 2), (-2.0, 1)):
        model = Applied(lambda x, conv: (conv(x).clamp(min=low) + 3) * 0.3, nn.Conv2d(5, 5, 1))  # noqa: B023
        graph = after(model, image(5), FoldAffine())
        assert names(graph)[names(graph).index("clip") :].count("bnn.affine") == affines
    assert (
        names(after(Applied(lambda x: (F.relu(x) + 3) * 2 + 1), image(5), FoldAffine())).count(
            "bnn.affine"
        )
        == 1
    )
