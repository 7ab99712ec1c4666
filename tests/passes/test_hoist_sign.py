import numpy as np
import pytest
from torch import nn

from bnn_compiler.nn import BinaryConv2d, Sign
from bnn_compiler.ops.graph import array
from bnn_compiler.passes.binarize_conv import BinarizeConv
from bnn_compiler.passes.fold_affine import FoldAffine
from bnn_compiler.passes.hoist_sign import HoistSign
from tests.network import after, assert_agrees, image, names

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


def between(*layers):
    """Those layers, monotone or not, between the pool and the sign."""
    first = [Sign(), BinaryConv2d(5, 8, 3, padding=1), nn.MaxPool2d(2)]
    return nn.Sequential(*first, *layers, Sign(), BinaryConv2d(8, 8, 1, scale=False))


def slopes(value):
    layer = nn.PReLU(8)
    layer.weight.data[:] = 0.25
    layer.weight.data[3] = value
    return layer


@pytest.mark.parametrize(
    "layers", [[nn.Hardtanh(-1, 2)], [slopes(0.0)], [nn.ReLU(), slopes(2.0)], [Sign(zero=1)]]
)
def test_fires_through_monotone_steps(layers):
    graph = assert_agrees(between(*layers), image(5))
    assert "bnn.max_pool2d" not in names(graph) and "bnn.bits_max_pool2d" in names(graph)


def test_must_not_fire_through_a_step_that_is_not_monotone():
    assert "nn.max_pool2d" in names(after(between(slopes(-0.25)), image(5), *PASSES))


def test_must_not_fire_through_a_shortcut():
    class Added(nn.Module):
        def forward(self, x):
            return x + nn.functional.relu(x)

    assert "nn.max_pool2d" in names(after(between(Added()), image(5), *PASSES))
