"""Networks that were quantised elsewhere, from their operators to a verified artifact."""

import numpy as np
import pytest
import torch
import torch.ao.quantization.fx._decomposed
from torch import nn

import bnn_compiler
from bnn_compiler.errors import InputError
from bnn_compiler.latency.preview import preview
from bnn_compiler.nn import BinaryConv2d, Sign
from bnn_compiler.options import Options

QD = torch.ops.quantized_decomposed


class Level(nn.Module):
    def __init__(self, scale, zero):
        super().__init__()
        self.numbers = scale, zero, -128, 127, torch.int8

    def forward(self, x):
        return QD.dequantize_per_tensor(QD.quantize_per_tensor(x, *self.numbers), *self.numbers)


class Weights(nn.Module):
    """Of 8 bits, as PT2E leaves them."""

    def __init__(self, layer):
        super().__init__()
        w = layer.weight.detach()
        scale = w.flatten(1).abs().amax(1) / 127
        whole = (w / scale.reshape(-1, *[1] * (w.dim() - 1))).round().to(torch.int8)
        self.register_buffer("whole", whole)
        self.register_buffer("scale", scale)
        self.register_buffer("zero", torch.zeros(len(w), dtype=torch.int64))

    def forward(self):
        numbers = self.scale, self.zero, 0, -127, 127, torch.int8
        return QD.dequantize_per_channel(self.whole, *numbers)


class Quantised(nn.Module):
    """An int8 stem and classifier around a binary layer, and a shortcut between levels."""

    def __init__(self):
        super().__init__()
        stem, fc = nn.Conv2d(3, 16, 3, padding=1), nn.Linear(16, 7)
        self.first, self.stem, self.bias = Level(0.025, 9), Weights(stem), stem.bias
        self.second, self.third = Level(0.011, -128), Level(0.05, 4)
        self.binary = nn.Sequential(Sign(), BinaryConv2d(16, 16, 3, padding=1))
        self.fc, self.fc_bias, self.last = Weights(fc), fc.bias, Level(0.02, 0)

    def forward(self, x):
        y = torch.conv2d(self.first(x), self.stem(), self.bias, padding=1)
        y = self.second(torch.relu(y))
        y = self.third(0.02 * self.binary(y - 0.2) + y)
        y = nn.functional.linear(self.third(y.mean((2, 3))), self.fc(), self.fc_bias)
        return self.last(y)


def quantised():
    torch.manual_seed(0)
    return Quantised().eval()


def images(count, seed=1):
    return torch.randn(count, 3, 16, 16, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("rest", ["float32", "int8"])
def test_levels_are_pytorchs(rest, tmp_path):
    model, told = quantised(), []
    net = bnn_compiler.compile(
        model,
        (images(4),),
        target="x86-64-v3",
        output=tmp_path / "n.bnn",
        rest=rest,
        progress=told.append,
    )
    by_op = {}
    for step in net.manifest["steps"]:
        by_op.setdefault(step["op"], []).append(step["name"])
    kind = "int8_conv2d" if rest == "int8" else "float_conv2d"
    assert len(by_op[f"bnn.{kind}"]) == 2 and len(by_op["bnn.conv2d"]) == 1
    assert any("the scales that the network brings" in line for line in told) == (rest == "int8")
    samples = [images(4, seed) for seed in range(3, 8)]
    report = bnn_compiler.verify(net, model, samples)
    assert report.ok, report.text()
    assert sum(v.decided for v in report.layers) < 1e-3 * sum(v.elements for v in report.layers)
    # Levels are the same numbers, but where rounding decides them.
    found = np.concatenate([net.run(x) for x in samples])
    wanted = np.concatenate([model(x).detach() for x in samples])
    assert (np.abs(found - wanted) < 1e-6).mean() > 0.9
    assert np.abs(found - wanted).max() < 0.021


def test_layers_by_name():
    model, x = quantised(), images(1)
    options = {"target": "x86-64-v3", "options": Options()}
    lines = preview(model, (x,), **options, float_layers=[]).lines
    names = [line.layer for line in lines if line.family.startswith("int8")]
    assert len(names) == 2
    lines = preview(model, (x,), **options, float_layers=names[:1]).lines
    assert [line.layer for line in lines if line.family.startswith("int8")] == names[1:]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"calibration": images(2)}, "brings its scales: leave out calibration"),
        ({"rest": "auto", "calibration": images(2)}, "brings its scales: rest 'int8' keeps them"),
        ({"calibrate_by": "mse"}, "brings its scales: leave out calibration"),
        ({"float_layers": ["stem"]}, "no layer 'stem' would run as int8"),
    ],
)
def test_what_nobody_would_look_at(given, message, tmp_path):
    wanted = {"rest": "int8", **given}
    with pytest.raises(InputError, match=message):
        bnn_compiler.compile(quantised(), (images(1),), output=tmp_path / "n.bnn", **wanted)
