import numpy as np
from torch import nn

from bnn_compiler.nn import BinaryConv2d, Sign
from bnn_compiler.ops.graph import array
from bnn_compiler.passes.binarize_conv import BinarizeConv
from bnn_compiler.passes.fold_affine import FoldAffine
from bnn_compiler.passes.hoist_sign import HoistSign
from tests.network import after, image, names

PASSES = (BinarizeConv(), FoldAffine(), HoistSign())


def pooled(first):
    return nn.Sequential(
        *first, nn.MaxPool2d(2), nn.BatchNorm2d(8), Sign(), BinaryConv2d(8, 8, 1, scale=False)
    )


def test_pool_works_on_bits_and_flips_negative_gains():
    model = pooled([Sign(), BinaryConv2d(5, 8, 3, padding=1)])
    model[3].weight.data[2] = -1
    graph = after(model, image(5), *PASSES)
    assert "nn.max_pool2d" not in names(graph)
    (pool,) = [v for v in graph.values.values() if "bits_max_pool2d" in str(getattr(v, "op", ""))]
    np.testing.assert_array_equal(array(pool.args[1]), [1 << 2])


def test_must_not_fire_behind_a_float_convolution():
    graph = after(pooled([nn.Conv2d(5, 8, 3, padding=1)]), image(5), *PASSES)
    assert "nn.max_pool2d" in names(graph)
