"""Every operator of the table against the evaluator of the package onnx."""

import numpy as np
import pytest
import torch

from bnn_compiler.frontend.onnx import operators, reference
from bnn_compiler.frontend.onnx.file import read
from bnn_compiler.frontend.onnx.translate import translate
from tests.frontend.onnx.cases import CASES, FOLDED
from tests.frontend.onnx.graphs import images, single


def test_no_operator_is_without_a_case():
    tested = {name.split()[0] for name in CASES} | set(FOLDED)
    assert tested == set(operators.ONNX)


@pytest.mark.parametrize("name", CASES)
def test_it_is_what_onnx_says(name):
    arrays, constants, opset, outputs, attributes = CASES[name]
    proto, given = single(name.split()[0], arrays, constants, outputs, opset, **attributes)
    known = reference.values(read(proto), given, (reference.by_evaluator,))
    inputs = [torch.from_numpy(x) for x in given]
    found = translate(read(proto), inputs)(*inputs)
    assert len(found) == outputs
    for ours, output in zip(found, proto.graph.output, strict=True):
        theirs = torch.from_numpy(np.array(known[output.name]))
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=2e-5, equal_nan=True)


def test_an_output_shape_is_padding():
    x, w = images(1, 4, 7, 6), images(4, 3, 3, 3)
    found = []
    for more in ({"output_shape": [14, 12]}, {"pads": [1, 1, 0, 0]}):
        proto, _ = single("ConvTranspose", [x, w], [1], strides=[2, 2], **more)
        found.append(translate(read(proto), [torch.from_numpy(x)])(torch.from_numpy(x))[0])
    assert found[0].shape == (1, 3, 14, 12) and torch.equal(*found)
