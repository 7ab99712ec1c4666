"""Structures spelled as the papers' public code spells them, without the package's layers."""

import pytest
import torch

import bnn_compiler
from bnn_compiler import zoo
from tests.author_style import AUTHOR_NETWORKS


@pytest.mark.parametrize("name", sorted(AUTHOR_NETWORKS))
def test_compiles_exactly(name, tmp_path):
    factory, shape, binary = AUTHOR_NETWORKS[name]
    model, x = factory(), torch.randn(shape)
    zoo.randomize(model, x)
    artifact = bnn_compiler.compile(model, (x,), output=tmp_path / "net.bnn")
    report = bnn_compiler.verify(artifact, model, [x])
    assert report.ok, report.text()
    assert sum(k.binary for k in report.kernels) == binary
    torch.testing.assert_close(artifact.run(x), model(x).detach(), rtol=1e-4, atol=1e-5)
