"""Every operator of the table against the evaluator of the package onnx."""

import numpy as np
import pytest
import torch
from onnx.reference import ReferenceEvaluator

from bnn_compiler.frontend.onnx import operators, qonnx, qoperator
from bnn_compiler.frontend.onnx.file import read
from bnn_compiler.frontend.onnx.translate import translate
from tests.frontend.onnx.cases import CASES, FOLDED
from tests.frontend.onnx.graphs import single


def test_no_operator_is_without_a_case():
    tested = {name.split()[0] for name in CASES} | set(FOLDED)
    assert tested == set(operators.ONNX)


@pytest.mark.parametrize("name", CASES)
def test_it_is_what_onnx_says(name):
    arrays, constants, opset, outputs, attributes = CASES[name]
    proto, given = single(name.split()[0], arrays, constants, outputs, opset, **attributes)
    wanted = ReferenceEvaluator(proto).run(
        None, {i.name: x for i, x in zip(proto.graph.input, given, strict=False)}
    )
    inputs = [torch.from_numpy(x) for x in given]
    found = translate(read(proto), inputs)(*inputs)
    assert len(found) == outputs
    for ours, theirs in zip(found, wanted, strict=True):
        assert ours.dtype == torch.from_numpy(np.asarray(theirs)).dtype
        torch.testing.assert_close(
            ours, torch.from_numpy(np.asarray(theirs)), rtol=1e-4, atol=2e-5, equal_nan=True
        )
