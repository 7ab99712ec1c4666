import numpy as np
import pytest
import torch
from torch import nn

import bnn_compiler
from bnn_compiler.errors import InputError, ModelError, UnsupportedError
from bnn_compiler.nn import BinaryConv2d, Sign
from tests.network import computed, image, imported


class Bessel(nn.Module):
    def forward(self, x):
        return torch.special.bessel_j0(x)


class Unusual(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Sequential(nn.Conv2d(3, 8, 1), Bessel())

    def forward(self, x):
        return self.inner(x)


def test_unsupported_operator_names_itself_its_module_and_where_the_others_are(tmp_path):
    with pytest.raises(
        UnsupportedError, match=r"bessel_j0.*module 'inner\.1'.*bnnc check --operators"
    ):
        bnn_compiler.compile(Unusual(), (torch.randn(1, 3, 4, 4),), output=tmp_path / "n.bnn")
    assert not list(tmp_path.iterdir())


def test_no_binary_layer_is_a_warning(tmp_path, caplog):
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU())
    x = torch.randn(1, 3, 6, 6)
    artifact = bnn_compiler.compile(model, (x,), output=tmp_path / "n.bnn")
    assert "no binary layer" in caplog.text
    torch.testing.assert_close(artifact.run(x), model(x).detach(), rtol=1e-5, atol=1e-6)


def test_exact_zero_weight_is_exact_refused_or_a_choice(tmp_path):
    model = nn.Sequential(nn.Conv2d(3, 8, 1), Sign(), nn.Conv2d(8, 8, 3, bias=False))
    weights = torch.where(torch.randn(8, 8, 3, 3) >= 0, 1.0, -1.0)
    weights[2, 3, 1, 1] = 0
    model[2].weight.data = weights
    x, path = torch.randn(1, 3, 5, 5), tmp_path / "n.bnn"
    exact = bnn_compiler.compile(model, (x,), output=path, zero_weight="exact")
    torch.testing.assert_close(exact.run(x), model(x).detach(), rtol=0, atol=0)
    with pytest.raises(ModelError, match="exactly 0"):
        bnn_compiler.compile(model, (x,), output=path, zero_weight="error")
    with pytest.raises(InputError, match=r"zero_weight '1'; known: 'exact', 'error', '\+1', '-1'"):
        bnn_compiler.compile(model, (x,), output=path, zero_weight="1")
    artifact = bnn_compiler.compile(model, (x,), output=path, zero_weight="+1")
    assert artifact.manifest["contract"]["zero_weight"] == "+1"


class Clamped(nn.Module):
    def __init__(self, low, high):
        super().__init__()
        self.low, self.high = low, high

    def forward(self, x):
        return torch.clamp(x, self.low(x), self.high(x))


def test_clamps_by_constant_tensors():
    full = lambda value: lambda x: torch.full((1, 4, 1, 1), value)  # noqa: E731
    for low, high in (
        (lambda x: torch.tensor(-0.5), lambda x: torch.tensor(0.25)),
        (full(-0.5), full(0.25)),
        (full(0.5), full(-0.25)),
    ):
        _, found, wanted = computed(Clamped(low, high), image(4))
        np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize(
    "high",
    [
        lambda x: torch.arange(4.0).reshape(1, 4, 1, 1),
        lambda x: x * 0.5,
        lambda x: torch.ones(2, 1, 1, 1),
    ],
)
def test_clamps_by_other_tensors(high):
    _, found, wanted = computed(Clamped(lambda x: torch.tensor(-1.0), high), image(4))
    np.testing.assert_array_equal(found, wanted)


def test_a_clamp_by_nan_is_refused():
    model = Clamped(lambda x: torch.tensor(-1.0), lambda x: torch.tensor(float("nan")))
    with pytest.raises(UnsupportedError, match=r"clamp.*bound"):
        imported(model, image(4))


def test_float64_input_is_refused(tmp_path):
    model = nn.Sequential(Sign(), BinaryConv2d(3, 8, 3))
    with pytest.raises(InputError, match="float32"):
        bnn_compiler.compile(model, (torch.randn(1, 3, 5, 5).double(),), output=tmp_path / "n")


@pytest.mark.parametrize("spec", ["missing.pt2", "no.such:factory", "math:pi", "nonsense"])
def test_bad_model_names(spec, tmp_path):
    with pytest.raises(ModelError, match=spec.split(":")[0].split(".")[0]):
        bnn_compiler.compile(spec, (torch.randn(1, 3, 5, 5),), output=tmp_path / "n.bnn")


def test_matrix_input(tmp_path):
    from bnn_compiler.nn import BinaryLinear

    model = nn.Sequential(nn.Linear(19, 40), Sign(), BinaryLinear(40, 7), nn.BatchNorm1d(7)).eval()
    x = torch.randn(3, 19)
    artifact = bnn_compiler.compile(model, (x,), output=tmp_path / "n.bnn")
    assert bnn_compiler.verify(artifact, model, [x]).ok
    torch.testing.assert_close(artifact.run(x), model(x).detach(), rtol=1e-5, atol=1e-5)
