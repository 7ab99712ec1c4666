"""Products of two computed tensors of signs, and rows of any width, compiled: bit for bit."""

import pytest
import torch
from torch import nn

import bnn_compiler
from tests.network import Function


def levels(x, zero):
    return torch.where(x > 0, 1.0, 0.0 if zero else -1.0)


def products(zeros):
    """Of each x [..., I, K] with itself turned around, whose last rows are left out."""

    def forward(_, *inputs):
        pairs = ((levels(x, zeros[0]), levels(0.2 - x, zeros[1])) for x in inputs)
        return tuple(a @ b.transpose(-1, -2) for a, b in pairs)

    return Function(forward)


@pytest.mark.parametrize("zeros", [(False, False), (True, False), (False, True), (True, True)])
def test_counts_are_exact(zeros, tmp_path):
    shapes = [(1, 7, 1), (3, 1, 3), (2, 3, 17, 33), (1, 2, 40, 100), (2, 5, 64)]
    inputs = [torch.randn(shape) for shape in shapes]
    model = products(zeros)
    artifact = bnn_compiler.compile(model, inputs, output=tmp_path / "net.bnn", check=False)
    for found, wanted in zip(artifact.run(*inputs), model(*inputs), strict=True):
        assert torch.equal(found, wanted)
    report = bnn_compiler.verify(artifact, model, [inputs])
    assert report.ok, report.text()
    assert sum(k.op == "bnn.matmul" for k in report.kernels) == len(shapes)


def test_what_follows_is_in_the_kernel(tmp_path):
    def forward(layers, x):
        scores = levels(x, False) @ levels(x.flip(1), False).transpose(1, 2) * 0.25 + 0.1
        weights = torch.where(scores > 0.5, 1.0, 0.0)
        return scores, weights @ levels(x, False)

    model, x = Function(forward, nn.Identity()), torch.randn(2, 19, 33)
    artifact = bnn_compiler.compile(model, (x,), output=tmp_path / "net.bnn")
    report = bnn_compiler.verify(artifact, model, [x])
    assert report.ok, report.text()
    (first, *_) = [s for s in artifact.manifest["steps"] if s["op"] == "bnn.matmul"]
    assert first["binary"]
    assert first["macs"] == 2 * 19 * 19 * 33
    assert "sign" in first["fused"]
