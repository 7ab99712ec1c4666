import numpy as np
import pytest
import torch
from torch.nn import functional
from tvm import relax

from bnn_compiler.ops import relax_ops as ops
from bnn_compiler.ops.window import Window

IMAGE = relax.Var("x", relax.TensorType([1, 9, 11, 4], "float32"))


@pytest.mark.parametrize("kernel", [(1, 1), (3, 2), (2, 5)])
@pytest.mark.parametrize("strides", [(1, 1), (2, 3)])
@pytest.mark.parametrize("dilation", [(1, 1), (2, 1)])
@pytest.mark.parametrize("padding", [(0, 0, 0, 0), (1, 0, 2, 3)])
def test_size_is_that_of_a_convolution(kernel, strides, dilation, padding):
    top, left, bottom, right = padding
    x = functional.pad(torch.zeros(1, 1, 9, 11), (left, right, top, bottom))
    y = functional.conv2d(x, torch.zeros(1, 1, *kernel), stride=strides, dilation=dilation)
    assert Window(kernel, strides, padding, dilation).size(9, 11) == y.shape[2:]


def test_bnn_attributes_round_trip():
    window = Window((3, 2), (2, 1), (1, 0, 2, 3), (1, 2))
    call = ops.anchor("max_pool2d", [IMAGE], **window.attrs())
    assert Window.of(call.attrs) == window
    # A convolution's groups are an attribute, its kernel is its weights'.
    attrs = {k: v for k, v in window.attrs().items() if k != "kernel"}
    weights = relax.const(np.zeros((4, 3, 2, 2), np.int8))
    call = ops.anchor("conv2d", [IMAGE, weights], groups=2, **attrs)
    assert Window.of(call.attrs, (3, 2)) == Window((3, 2), (2, 1), (1, 0, 2, 3), (1, 2), 2)


def test_relax_attributes():
    pool = relax.op.nn.max_pool2d(IMAGE, [3, 2], [2, 1], [1, 0, 1, 1], [1, 2], layout="NHWC")
    wanted = Window((3, 2), (2, 1), (1, 0, 1, 1), (1, 2))
    assert Window.of(pool.attrs, pool.attrs.pool_size) == wanted
    weights = relax.const(np.zeros((4, 3, 3, 2), np.float32))
    layouts = {"data_layout": "NHWC", "kernel_layout": "OHWI"}
    conv = relax.op.nn.conv2d(IMAGE, weights, 2, 1, 1, groups=2, **layouts)
    assert Window.of(conv.attrs, (3, 3)) == Window((3, 3), (2, 2), (1, 1, 1, 1), groups=2)


def test_a_tap_is_what_it_meets_at_each_output():
    window = Window((2, 3), (2, 3), dilation=(3, 1))
    x = np.arange(9 * 11).reshape(1, 9, 11, 1)
    oh, ow = window.size(9, 11)
    found = window.tap(x, 1, 2, oh, ow)[0, :, :, 0]
    np.testing.assert_array_equal(
        found, [[11 * (2 * y + 3) + 3 * z + 2 for z in range(ow)] for y in range(oh)]
    )
