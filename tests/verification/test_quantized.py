"""What verify says of layers on bytes where the framework has no such value, or no finite one."""

import numpy as np
import pytest
import torch
from torch import nn

import bnn_compiler
from bnn_compiler.frontend.oracle import Truth
from bnn_compiler.nn import BinaryConv2d, Sign
from bnn_compiler.ops.reference import to_bytes
from bnn_compiler.verification.quantized import Bytes, compare
from bnn_compiler.verification.report import Int8Check, Report

VALUE = np.array([[[[np.nan, np.inf, -np.inf, 0.5, 1e9]]]], np.float32)
FACTOR, ZERO = np.full(5, 10, np.float32), np.full(5, 7, np.float32)


def narrow(value=VALUE, rounding=1e-6):
    return Bytes(Truth(value, rounding, None), FACTOR, ZERO)


def test_bytes_of_what_is_not_finite():
    with np.errstate(invalid="ignore"):
        bytes_ = to_bytes(VALUE, FACTOR, ZERO)
    assert bytes_.ravel().tolist() == [0, 255, 0, 12, 255]
    right = narrow().judge("layer", bytes_)
    assert (right.wrong, right.difference) == (0, 0)
    for at in range(5):
        wrong = bytes_.copy()
        wrong[..., at] ^= 3
        assert narrow().judge("layer", wrong).wrong == 1


def test_bytes_are_compared_as_what_they_stand_for():
    value = np.linspace(-1, 1, 5, dtype=np.float32).reshape(1, 1, 1, 5)
    bytes_ = to_bytes(value, FACTOR, ZERO)
    found = compare("layer", bytes_, bytes_, None, narrow(value))
    assert found.mismatches == 0
    # Half a step at most; -1 is clipped to -0.7.
    assert found.difference == pytest.approx(0.3, abs=1e-6) and 0 < found.error < 0.3


def test_layers_without_a_value_of_the_framework_are_not_the_furthest():
    def text(*errors):
        checks = tuple(Int8Check(n, 4, 0, e, e) for n, e in errors)
        return Report(1, (), (), (), (), (), 0, 0.0, checks, ()).text()

    assert "furthest from float" not in text(("phase", 0.0))
    assert "furthest from float: stem 1.00%\n" in text(("phase", 0.0), ("stem", 0.01))


class Unknown(nn.Module):
    """Values that the framework does not have: without the bias, which went into a threshold, in
    front of a shortcut; and the phases of a transposed convolution.
    """

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, padding=1)
        self.conv = nn.Sequential(Sign(), BinaryConv2d(16, 16, 3, padding=1))
        self.up = nn.ConvTranspose2d(16, 8, 2, 2)
        self.last = nn.Sequential(Sign(), BinaryConv2d(8, 8, 1))

    def forward(self, x):
        y = self.stem(x)
        y = torch.relu(self.conv(y) + y)
        return self.last(self.up(y))


def test_errors_go_on_behind_values_that_the_framework_does_not_have(tmp_path):
    torch.manual_seed(0)
    model, x = Unknown().eval(), torch.randn(3, 3, 5, 5)
    net = bnn_compiler.compile(
        model,
        (x[:1],),
        target="x86-64-v3",
        output=tmp_path / "n.bnn",
        rest="int8",
        calibration=x,
    )
    report = bnn_compiler.verify(net, model, [x[1:2]])
    assert report.ok, report.text()
    by_name = {q.name: q for q in report.int8}
    assert by_name["stem1"].error > 0 and by_name["up"].mismatches == 0
