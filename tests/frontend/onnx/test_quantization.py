"""Forms of levels that single cases do not reach, and those that are refused."""

import numpy as np
import pytest
import torch
from onnx import helper

from bnn_compiler.errors import UnsupportedError
from bnn_compiler.frontend.onnx.file import read
from bnn_compiler.frontend.onnx.translate import translate
from tests.frontend.onnx.graphs import images, model, single

N = helper.make_node
F = np.float32


def run(proto, *inputs):
    tensors = [torch.from_numpy(x) for x in inputs]
    return translate(read(proto), tensors)(*tensors)[0].numpy()


def test_weights_by_channels_are_folded():
    w = images(3, 4)
    scale = np.array([0.01, 0.02, 0.03], F)
    zero = np.array([0, 5, -7], np.int8)
    nodes = [
        N("QuantizeLinear", ["w", "s", "z"], ["q"], axis=0),
        N("DequantizeLinear", ["q", "s", "z"], ["v"], axis=0),
        N("Add", ["v", "x"], ["y"]),
    ]
    x = images(3, 4, seed=1)
    proto = model(nodes, {"x": x}, constants={"w": w, "s": scale, "z": zero})
    network = translate(read(proto), [torch.from_numpy(x)])
    assert [s.node.operator for s in network.steps()] == ["Add"]
    level = np.clip(np.rint(w / scale[:, None]) + zero[:, None], -128, 127) - zero[:, None]
    np.testing.assert_allclose(run(proto, x), level * scale[:, None] + x, rtol=1e-6)


def test_an_int32_bias():
    proto = model(
        [N("DequantizeLinear", ["b", "s"], ["c"]), N("Add", ["c", "x"], ["y"])],
        {"x": (3,)},
        constants={"b": np.array([100000, -3, 7], np.int32), "s": F(0.001)},
    )
    assert np.allclose(run(proto, np.zeros(3, F)), [100, -0.003, 0.007])


@pytest.mark.parametrize(
    ("operator", "x", "what"),
    [("QuantizeLinear", images(2, 3), "3 scales of a computed value"),
     ("DequantizeLinear", np.ones((2, 3), np.int8), "3 scales of a computed value")],
)  # fmt: skip
def test_scales_of_channels_of_computed_values(operator, x, what):
    scale, zero = np.array([0.1, 0.2, 0.3], F), np.zeros(3, np.int8)
    proto, _ = single(operator, [x, scale, zero], [1, 2], axis=1)
    with pytest.raises(UnsupportedError, match=rf"{operator} of node .*{what}.*weights only"):
        run(proto, x)


def test_computed_scales_and_blocks():
    x = images(2, 4)
    proto, _ = single("QuantizeLinear", [x, F(0.1), np.int8(0)], [2])
    with pytest.raises(UnsupportedError, match="its scale is computed at run time"):
        run(proto, x, np.array(0.1, F))
    scales = np.full((2, 2), 0.1, F)
    proto, _ = single("QuantizeLinear", [x, scales], [1], opset=21, axis=1, block_size=2)
    with pytest.raises(UnsupportedError, match="scales of blocks"):
        run(proto, x)
