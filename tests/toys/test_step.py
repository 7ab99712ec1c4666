"""A new epilogue step is a row of STEPS and its form as TE: no other file knows it."""

import numpy as np
import pytest
from tvm import relax, tirx

from bnn_compiler.kernels.epilogue import FORMS
from bnn_compiler.ops import relax_ops as ops
from bnn_compiler.ops.epilogue import STEPS, StepKind
from tests.network import anchors
from tests.toys.written import compiled, network_of


@pytest.fixture
def absolute(monkeypatch):
    kind = StepKind(np.abs, "magnitude", source="relax.abs")
    monkeypatch.setitem(STEPS, "abs", kind)
    monkeypatch.setitem(FORMS, "abs", lambda v, _: tirx.abs(v))


def convolve(emit, x, seed, outputs=24):
    rng = np.random.default_rng(seed)
    w = rng.choice([-1.0, 1.0], (outputs, 3, 3, ops.shape_of(x)[3])).astype(np.float32)
    signs = emit(ops.call_op("sign", [x], zero=1))
    layouts = {"data_layout": "NHWC", "kernel_layout": "OHWI"}
    return emit(relax.op.nn.conv2d(signs, relax.const(w), padding=1, **layouts))


def body(emit, image):
    """Two binary layers; magnitudes behind the first, less 3, are the second one's input."""
    one, less = (relax.const(np.full(24, v, np.float32)) for v in (1, -3))
    magnitude = emit(relax.op.abs(convolve(emit, image, 0)))
    shifted = emit(ops.call_op("affine", [magnitude, one, less]))
    return convolve(emit, shifted, 1)


def test_abs_is_fused_into_a_binary_convolution(absolute, tmp_path, monkeypatch):
    x = np.random.default_rng(2).normal(size=(1, 5, 9, 9)).astype(np.float32)
    network = network_of(body, 5, 9)
    graph, found, manifest = compiled(network, x, tmp_path / "net.bnn", monkeypatch)
    first, second = (ops.epilogue_of(c) for c in anchors(graph, "conv2d"))
    # Not folded into a threshold of the integer: it is not monotone there.
    assert [s.kind for s in first.steps] == ["abs"] and first.outputs[0].is_bits
    assert ["magnitude", "sign"] in [step["fused"] for step in manifest["steps"]]
    assert second.steps == () and len(np.unique(found)) > 2
