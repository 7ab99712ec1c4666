"""``verify`` against faults put into the compiler, and against what is no fault."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

import bnn_compiler
from bnn_compiler.cli import main
from bnn_compiler.errors import InputError, MismatchError, VerifyError
from bnn_compiler.frontend.pytorch import converters, recognise_sign
from bnn_compiler.nn import BinaryConv2d, Sign
from bnn_compiler.passes import fold_threshold


class Small(nn.Module):
    """Every kind of buffer: float, bits, both; a shortcut, a clamp, a classifier."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, padding=1)
        self.first = BinaryConv2d(16, 16, 3, padding=1)
        self.second = BinaryConv2d(16, 24, 3)
        self.norms = nn.ModuleList([nn.BatchNorm2d(16), nn.BatchNorm2d(24)])
        self.sign = Sign()
        self.head = nn.Linear(24, 5)

    def forward(self, x):
        x = self.stem(x)
        x = x + self.norms[0](self.first(self.sign(x)))
        x = nn.functional.hardtanh(x, -1.5, 1.25)
        x = self.norms[1](self.second(self.sign(x - 0.125)))
        return self.head(nn.functional.leaky_relu(x, 0.1).mean((2, 3)))


def small(size=8):
    torch.manual_seed(1)
    model = Small().eval()
    for norm in model.norms:
        nn.init.normal_(norm.weight)
        nn.init.normal_(norm.bias)
    return model, torch.randn(2, 3, size, size)


def factory():
    return small()[0]


@pytest.fixture(scope="module")
def right(tmp_path_factory):
    model, x = small()
    path = tmp_path_factory.mktemp("net") / "n.bnn"
    return bnn_compiler.compile(model, (x,), output=path), model, x


def test_a_right_network(right):
    net, model, x = right
    report = bnn_compiler.verify(net, model, [x, -x])
    assert report.ok, report.text()
    assert report.samples == 2
    assert len(report.signs) == 2 and len(report.layers) >= 3 and len(report.kernels) >= 4
    assert sum(s.elements for s in report.signs) == 2 * (2 * 16 * 8 * 8 + 2 * 16 * 8 * 8)
    assert 0 < report.outputs[0].rounding < 1e-3
    assert json.loads(json.dumps(report.as_dict()))["ok"] is True


def _wrong_bounds(im, x, low=-1.0, high=1.0):
    return converters._clip(-np.inf, np.inf)(im, x, low, 0.1)


def _wrong_slope(im, x, slope=0.01):
    return converters._mul(im, x, 1.0)


def _wrong_shift(im, a, b, alpha=1):
    return converters._arithmetic(-1)(im, a, 0.0, alpha)


@pytest.mark.parametrize(
    ("operator", "wrong"),
    [("hardtanh", _wrong_bounds), ("leaky_relu", _wrong_slope), ("sub", _wrong_shift)],
)
def test_a_fault_of_the_importer_is_found_and_named(operator, wrong, monkeypatch, tmp_path):
    monkeypatch.setitem(converters.HANDLERS, operator, wrong)
    model, x = small()
    with pytest.raises(MismatchError, match=r"differ from PyTorch's.*--no-check"):
        bnn_compiler.compile(model, (x,), output=tmp_path / "n.bnn")
    assert not list(tmp_path.iterdir())
    net = bnn_compiler.compile(model, (x,), output=tmp_path / "n.bnn", check=False)
    report = bnn_compiler.verify(net, model, [x])
    assert not report.ok and all(k.mismatches == 0 for k in report.kernels)
    assert any(v.wrong for v in report.layers) or any(s.wrong for s in report.signs)


def test_a_fault_of_a_pass_is_found(monkeypatch, tmp_path):
    thresholds = fold_threshold.thresholds

    def off_by_two(epilogue, operands, reach):
        threshold, negate = thresholds(epilogue, operands, reach)
        return threshold + np.float32(2), negate

    class Folded(nn.Sequential):
        def __init__(self):
            super().__init__(
                Sign(), BinaryConv2d(8, 8, 3, scale=False), nn.BatchNorm2d(8), Sign(),
                BinaryConv2d(8, 4, 3),
            )  # fmt: skip

    monkeypatch.setattr(fold_threshold, "thresholds", off_by_two)
    model, x = Folded().eval(), torch.randn(1, 8, 7, 7)
    with pytest.raises(MismatchError, match="signs differ from PyTorch's"):
        bnn_compiler.compile(model, (x,), output=tmp_path / "n.bnn")


def test_a_sign_that_is_wrong_only_at_exact_zeros_is_found(monkeypatch, tmp_path):
    """sign(x) taken for where(x >= 0, 1, -1) where x is often 0: no distance from the threshold."""
    one_step = recognise_sign._one_step

    def without_zero(steps):
        step = one_step(steps)
        return step and replace(step, zero=1)

    monkeypatch.setattr(recognise_sign, "_one_step", without_zero)

    class Zeros(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = BinaryConv2d(8, 8, 3)

        def forward(self, x):
            return self.conv(torch.sign(nn.functional.max_pool2d(torch.relu(x), 2)))

    with pytest.raises(MismatchError):
        bnn_compiler.compile(Zeros(), (torch.randn(1, 8, 7, 7),), output=tmp_path / "n.bnn")


class Edge(nn.Module):
    """Sums of 64 terms that are 0 but for rounding, in front of a sign: their order decides."""

    def __init__(self):
        super().__init__()
        self.mix = nn.Conv2d(64, 16, 3, bias=False)
        self.conv = BinaryConv2d(16, 8, 3)
        weights = torch.randn(16, 64, 3, 3)
        weights[:, 63, 2, 2] -= weights.double().sum((1, 2, 3)).float()
        self.mix.weight.data = weights
        self.sign = Sign()

    def forward(self, x):
        return self.conv(self.sign(self.mix(x)))


def test_signs_a_rounding_error_from_zero_are_named_and_no_fault(tmp_path):
    torch.manual_seed(0)
    model, x = Edge(), torch.full((1, 64, 9, 9), 0.37)
    net = bnn_compiler.compile(model.eval(), (x,), output=tmp_path / "n.bnn")
    report = bnn_compiler.verify(net, model, [x])
    assert report.ok, report.text()
    differ = sum(s.differ for s in report.signs)
    assert differ + report.zeros_decided > 0
    assert all(s.distance <= s.rounding for s in report.signs)
    assert report.outputs[0].difference > report.outputs[0].rounding
    assert report.outputs[0].with_signs <= report.outputs[0].rounding
    assert "from 0" in report.text()


class TwoInputs(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = BinaryConv2d(8, 4, 3)
        self.sign = Sign()

    def forward(self, a, b):
        y = self.conv(self.sign(a + b))
        return y, self.sign(a - b)


def test_samples_of_several_inputs(tmp_path):
    model = TwoInputs().eval()
    a, b = torch.randn(1, 8, 6, 6), torch.randn(1, 8, 6, 6)
    net = bnn_compiler.compile(model, (a, b), output=tmp_path / "n.bnn")
    for samples, count in (([a, b], 1), ([(a, b)], 1), ([(a, b), (b, a), (a, a)], 3)):
        report = bnn_compiler.verify(net, model, samples)
        assert report.ok and report.samples == count, report.text()
        assert len(report.outputs) == 2
    with pytest.raises(InputError, match="tuple of 2"):
        bnn_compiler.verify(net, model, [a, b, a])
    with pytest.raises(InputError, match="no samples"):
        bnn_compiler.verify(net, model, [])
    with pytest.raises(InputError):
        bnn_compiler.verify(net, model, [(a,)])


def test_another_network_is_refused(right):
    net, _, x = right
    other, _ = small()
    other.stem.weight.data[0, 0, 0, 0] += 1
    with pytest.raises(VerifyError, match="another network"):
        bnn_compiler.verify(net, other, [x])


class Exported(nn.Module):
    """Computes something else when it is traced."""

    def __init__(self):
        super().__init__()
        self.conv = BinaryConv2d(8, 4, 3)
        self.sign = Sign()

    def forward(self, x):
        y = self.conv(self.sign(x))
        return y if torch.compiler.is_compiling() else 2 * y


def test_a_module_that_is_not_its_export_is_a_fault(tmp_path):
    with pytest.raises(MismatchError, match="does not compute what its export does"):
        bnn_compiler.compile(
            Exported().eval(), (torch.randn(1, 8, 6, 6),), output=tmp_path / "n.bnn"
        )


def test_the_users_module_is_left_as_it_was(tmp_path):
    model = nn.Sequential(nn.BatchNorm2d(8), Sign(), BinaryConv2d(8, 4, 3)).train()
    x = torch.randn(2, 8, 6, 6)
    before, state = x.clone(), {k: v.clone() for k, v in model.state_dict().items()}
    bnn_compiler.compile(model, (x,), output=tmp_path / "n.bnn").close()
    assert model.training and torch.equal(x, before)
    assert all(torch.equal(v, state[k]) for k, v in model.state_dict().items())


def test_exit_codes(right, monkeypatch, tmp_path, capsys):
    net, _, x = right
    source = "tests.verification.test_verify:factory"
    np.save(tmp_path / "x.npy", x.numpy())
    given = ["--input", str(tmp_path / "x.npy")] * 2
    assert main(["verify", str(net.path), source, *given]) == 0
    assert "2 samples" in capsys.readouterr().out
    monkeypatch.setitem(converters.HANDLERS, "leaky_relu", _wrong_slope)
    wrong, shape = str(tmp_path / "w.bnn"), ["--shape", "2,3,8,8"]
    assert main(["compile", source, *shape, "-o", wrong]) == 1
    assert "does not compute what PyTorch does" in capsys.readouterr().err
    assert main(["compile", source, *shape, "-o", wrong, "--no-check"]) == 0
    capsys.readouterr()
    assert main(["verify", wrong, source]) == 1
    assert "WRONG" in capsys.readouterr().out


def test_uint8_images(tmp_path):
    model, x = small()
    net = bnn_compiler.compile(
        model,
        (x,),
        output=tmp_path / "n.bnn",
        input_dtype="uint8",
        mean=(0.5, 0.4, 0.3),
        std=(0.2, 0.3, 0.2),
    )
    images = np.random.default_rng(0).integers(0, 256, (2, 3, 8, 8), np.uint8)
    images[..., :3] = 0
    report = bnn_compiler.verify(net, model, [images])
    assert report.ok, report.text()
