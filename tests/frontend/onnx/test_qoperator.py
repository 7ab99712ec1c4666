"""Operators of onnxruntime on levels, which the evaluator does not have: against numpy."""

import numpy as np
import pytest
import torch

from bnn_compiler.frontend.onnx import qoperator
from bnn_compiler.frontend.onnx.file import read
from bnn_compiler.frontend.onnx.translate import translate
from tests.frontend.onnx.graphs import images, single

F, U = np.float32, np.uint8
A, B = ((np.abs(images(2, 4, 6, 6, seed=s)) * 60).astype(U) for s in (0, 1))
X, Y = (A.astype(F) - 9) * F(0.05), (B.astype(F) - 4) * F(0.03)
QA, QB, Q = (F(0.05), U(9)), (F(0.03), U(4)), (F(0.04), U(20))
W = (images(5, 4) * 40).astype(np.int8)
BIAS = (images(5) * 500).astype(np.int32)


def pooled(x):
    return x.reshape(2, 4, 3, 2, 3, 2).mean((3, 5))


CASES = {
    "QLinearAdd": ([A, *QA, B, *QB, *Q], {}, lambda: X + Y),
    "QLinearMul": ([A, *QA, B, *QB, *Q], {}, lambda: X * Y),
    "QLinearSigmoid": ([A, *QA, *Q], {}, lambda: 1 / (1 + np.exp(-X))),
    "QLinearLeakyRelu": ([A, *QA, *Q], {"alpha": 0.2}, lambda: np.where(X < 0, X * F(0.2), X)),
    "QLinearGlobalAveragePool": ([A, *QA, *Q], {}, lambda: X.mean((2, 3), keepdims=True)),
    "QLinearAveragePool": ([A, *QA, *Q], {"kernel_shape": [2, 2], "strides": [2, 2]},
                           lambda: pooled(X)),
    "QLinearConcat": ([*Q, A, *QA, B, *QB], {"axis": 1}, lambda: np.concatenate([X, Y], 1)),
    "QGemm": ([A[:, :, 0, 0], *QA, W, F(0.02), np.int8(0), BIAS, *Q], {"transB": 1},
              lambda: X[:, :, 0, 0] @ (W.T * F(0.02)) + BIAS * F(0.05 * 0.02)),
}  # fmt: skip


def test_all_of_them_have_a_case():
    assert set(CASES) == set(qoperator.MICROSOFT)


@pytest.mark.parametrize("name", CASES)
def test_levels_are_those_of_the_real_result(name):
    arrays, attributes, result = CASES[name]
    places = [i for i, a in enumerate(arrays) if a is A or a is B or (np.ndim(a) == 2 and i == 0)]
    known = [i for i in range(len(arrays)) if i not in places]
    proto, given = single(name, arrays, known, domain="com.microsoft", **attributes)
    tensors = [torch.from_numpy(x) for x in given]
    found = translate(read(proto), tensors)(*tensors)[0].numpy()
    scale, zero = Q
    real = result().astype(np.float64) / scale
    wanted = np.clip(np.rint(real) + zero, 0, 255)
    assert found.dtype == np.uint8 and found.shape == wanted.shape
    apart = np.abs(found.astype(int) - wanted)
    middle = np.abs(real - np.floor(real) - 0.5) < 1e-3
    assert apart.max() <= 1 and not apart[~middle].any() and middle.mean() < 0.5
