"""What is translated to something else is refused."""

import numpy as np
import pytest
import torch

from bnn_compiler.errors import ModelError
from bnn_compiler.frontend.onnx import agreement, operators, reference
from bnn_compiler.frontend.onnx.file import read
from bnn_compiler.frontend.onnx.node import Node
from bnn_compiler.frontend.onnx.translate import translate
from tests.frontend.onnx import networks
from tests.frontend.onnx.graphs import images, single


def demand(proto, *inputs):
    file, tensors = read(proto), [torch.from_numpy(x) for x in inputs]
    agreement.demand(file, translate(file, tensors), tensors)


@pytest.mark.parametrize(
    ("operator", "wrong", "what"),
    [
        ("Relu", lambda node, x: torch.nn.functional.leaky_relu(x, 1e-3), "elements, by up to"),
        ("Relu", lambda node, x: x[:, :1].clone(), r"shape \[2, 1\] for \[2, 3\]"),
        ("Sign", lambda node, x: torch.where(x >= 0, 1.0, -1.0), "1 of 6 elements, by up to 1"),
        ("Relu", lambda node, x: torch.relu(x).to(torch.int64), "int64 for float32"),
    ],
)
def test_a_wrong_translation_is_refused(operator, wrong, what, monkeypatch):
    monkeypatch.setitem(operators.ONNX, operator, wrong)
    x = images(2, 3)
    x[1, 1] = 0
    with pytest.raises(ModelError, match=rf"{operator} of node 'the\.node' .*differs.*{what}"):
        demand(single(operator, [x])[0], x)


def test_what_was_folded_is_compared_too(monkeypatch):
    first = torch.tensor([0])
    monkeypatch.setitem(operators.ONNX, "Gather", lambda node, x, index: first)
    with pytest.raises(ModelError, match=r"Gather of node .* differs"):
        demand(networks.binary(), images(1, 3, 12, 12))


def quantised(x, zero=3):
    return single("QuantizeLinear", [x, np.float32(0.1), np.int8(zero)], [1, 2])[0]


def test_levels_between_which_rounding_decides(monkeypatch):
    x = (np.arange(-20, 20, dtype=np.float32).reshape(4, 10) + np.float32(0.5)) * np.float32(0.1)
    demand(quantised(x), x)
    # The other one of two levels, where both are as near, is excused, and elsewhere it is not.
    made = operators.ONNX["QuantizeLinear"]

    def half_up(node, x, *rest):
        return torch.clamp(torch.floor(x / 0.1 + 0.5) + 3, -128, 127).to(torch.int8)

    monkeypatch.setitem(operators.ONNX, "QuantizeLinear", half_up)
    demand(quantised(x), x)
    monkeypatch.setitem(
        operators.ONNX, "QuantizeLinear", lambda node, x, *rest: made(node, x, *rest) + 1
    )
    with pytest.raises(ModelError, match=r"QuantizeLinear of node .* differs"):
        demand(quantised(x + np.float32(0.03)), x + np.float32(0.03))


@pytest.mark.parametrize("name", ["binary", "qdq", "qonnx"])
def test_networks_agree_with_the_evaluator(name, monkeypatch):
    monkeypatch.setattr(reference, "onnxruntime", lambda: None)
    proto = getattr(networks, name)()
    demand(proto, images(*{"binary": (1,), "qdq": (3,), "qonnx": (2,)}[name], 3, 12, 12, seed=7))


def test_what_cannot_be_run_cannot_be_checked(monkeypatch):
    def refuses(*_):
        raise RuntimeError("no kernel")

    file = read(networks.binary())
    with pytest.raises(ModelError, match=r"cannot be run, .* cannot be checked: no kernel"):
        reference.values(file, [images(1, 3, 12, 12)], (refuses,))


def test_both_programs_compute_the_same():
    pytest.importorskip("onnxruntime")
    file, x = read(networks.qdq()), [images(2, 3, 12, 12)]
    by = [
        reference.values(file, x, (p,)) for p in (reference.by_onnxruntime, reference.by_evaluator)
    ]
    assert by[0].keys() == by[1].keys()
    np.testing.assert_allclose(by[0]["stem_weight"], by[1]["stem_weight"])
    np.testing.assert_allclose(by[0]["s"], by[1]["s"], rtol=1e-4, atol=1e-4)


def test_levels_of_sums_are_excused_in_the_middle_only(monkeypatch):
    a, b = (np.random.default_rng(s).integers(0, 255, (1, 2, 8, 8), np.uint8) for s in (0, 1))
    u, f = np.uint8, np.float32
    arrays = [a, f(0.05), u(9), b, f(0.05), u(4), f(0.1), u(20)]
    known = [1, 2, 4, 5, 6, 7]
    proto, given = single("QLinearAdd", arrays, known, domain="com.microsoft")
    real = (a.astype(f) - 9 + b.astype(f) - 4) * 0.5
    half_up = np.clip(np.floor(real + 0.5) + 20, 0, 255).astype(u)
    theirs = {"y0": half_up}
    monkeypatch.setattr(reference, "values", lambda *_: dict(theirs))
    demand(proto, *given)
    theirs["y0"] = half_up + (real % 1 == 0) * (half_up < 255).astype(u)
    with pytest.raises(ModelError, match=r"QLinearAdd of node .* differs"):
        demand(proto, *given)


@pytest.mark.parametrize(
    ("operator", "mode", "near"),
    [("Quant", "ROUND", [True, False, False]), ("Quant", "FLOOR", [False, True, False]),
     ("Trunc", "FLOOR", [True, True, False])],
)  # fmt: skip
def test_where_rounding_turns_around(operator, mode, near):
    node = Node("n", operator, "", 1, {"rounding_mode": mode})
    assert (agreement._from_edge(node, np.array([0.4999, 1.0001, 1.3])) < 1e-3).tolist() == near
