import numpy as np
import pytest
import torch

from bnn_compiler.ops import relax_ops as ops
from bnn_compiler.passes.binarize_matmul import BinarizeMatmul
from tests.network import Applied, after, anchors, computed, names


def signs(x, zero=1.0):
    return torch.where(x >= 0, 1.0, -1.0) if zero > 0 else torch.where(x > 0, 1.0, -1.0)


def levels(x):
    return torch.where(x > 0.3, 1.0, 0.0)


@pytest.mark.parametrize(
    ("left", "right", "low"),
    [
        (signs, signs, [-1, -1]),
        (levels, signs, [0, -1]),
        (signs, levels, [-1, 0]),
        (levels, levels, [0, 0]),
        (lambda x: signs(x, -1.0), signs, [-1, -1]),
    ],
)
@pytest.mark.parametrize("shape", [(3, 7, 33), (2, 3, 5, 3), (1, 1, 100), (2, 4, 1)])
def test_products_of_two_levels_are_of_bits(left, right, low, shape):
    model = Applied(lambda x: left(x).to(x.dtype) @ right(0.5 - x).to(x.dtype).transpose(-1, -2))
    x = torch.randn(shape)
    (product,) = anchors(after(model, x, BinarizeMatmul()), "matmul")
    assert [int(v) for v in product.attrs["low"]] == low
    assert {str(a.ty.dtype) for a in product.args} == {"uint32"}
    _, found, wanted = computed(model, x)
    assert np.array_equal(found, wanted)


@pytest.mark.parametrize("scales", [(1.0, 1.0), (0.5, -3.0)])
def test_scales_move_behind_the_product(scales):
    def product(x):
        left, right = (signs(v).to(x.dtype) * s for v, s in zip((x, x * 2), scales, strict=True))
        return left @ right.transpose(1, 2)

    graph, found, wanted = computed(Applied(product), torch.randn(2, 5, 20))
    assert len(anchors(graph, "matmul")) == 1
    np.testing.assert_allclose(found, wanted)


def test_signs_that_are_often_0_are_two_planes():
    model = Applied(lambda x: torch.sign(1 - x) @ torch.sign(x).transpose(1, 2))
    graph = after(model, torch.randn(2, 5, 20).round(), BinarizeMatmul())
    assert len(anchors(graph, "matmul")) == 4
    _, found, wanted = computed(model, torch.randn(2, 5, 20).round())
    assert np.array_equal(found, wanted)


def test_other_levels_and_other_batches_stay_float():
    three = Applied(lambda x: (signs(x) * 2 + 1) @ signs(x).transpose(1, 2))
    repeated = Applied(lambda x: signs(x) @ signs(x[:1] * 2).transpose(1, 2))
    for model in (three, repeated):
        graph, found, wanted = computed(model, torch.randn(2, 5, 20))
        assert not anchors(graph, "matmul")
        np.testing.assert_allclose(found, wanted, rtol=1e-6)


def test_bits_are_packed_along_the_summed_dimension():
    def heads(x):
        return signs(x.view(2, 7, 2, 10)).transpose(1, 2)

    model = Applied(lambda x: heads(x).to(x.dtype) @ heads(x + 1).to(x.dtype).transpose(-1, -2))
    graph, found, wanted = computed(model, torch.randn(2, 7, 20))
    (product,) = anchors(graph, "matmul")
    assert [ops.shape_of(a) for a in product.args] == [(2, 2, 7, 1)] * 2
    assert "bnn.plain" in names(graph)
    assert np.array_equal(found, wanted)
