"""rest="int8": layers that are not binary on bytes, from samples to a verified artifact."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import bnn_compiler
from bnn_compiler import cli
from bnn_compiler.errors import InputError
from bnn_compiler.latency.preview import preview
from bnn_compiler.network import Network
from bnn_compiler.nn import BinaryConv2d, Sign
from bnn_compiler.ops import evaluate
from bnn_compiler.ops.operators import OPERATORS
from bnn_compiler.options import Options
from bnn_compiler.quantization import METHODS, pace

IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
LAYERS = {"stem", "block_shortcut_1", "depthwise", "fc"}


class Block(nn.Module):
    """Bi-Real's: a binary 3x3, and a shortcut with an average pool and a float 1x1."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Sequential(
            Sign(), BinaryConv2d(20, 40, 3, stride=2, padding=1), nn.BatchNorm2d(40)
        )
        self.shortcut = nn.Sequential(
            nn.AvgPool2d(2), nn.Conv2d(20, 40, 1, bias=False), nn.BatchNorm2d(40)
        )

    def forward(self, x):
        return self.conv(x) + self.shortcut(x)


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 20, 7, 2, 3, bias=False), nn.BatchNorm2d(20)
        self.block = Block()
        self.depthwise = nn.Conv2d(40, 40, 3, padding=1, groups=40)
        self.last = nn.Sequential(Sign(), BinaryConv2d(40, 40, 3, padding=1))
        self.fc = nn.Linear(40, 7)

    def forward(self, x):
        x = self.block(F.max_pool2d(self.norm(self.stem(x)), 3, 2, 1))
        x = self.last(F.relu(self.depthwise(x)) - 0.1) + x
        return self.fc(x.mean((2, 3)))


def trained(seed=0):
    """A network whose batch norms have seen images."""
    torch.manual_seed(seed)
    model = Small()
    with torch.no_grad():
        for _ in range(3):
            model(torch.randn(4, 3, 32, 32))
    return model.eval()


def images(count=6, seed=1):
    return torch.randn(count, 3, 32, 32, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    model, path = trained(), tmp_path_factory.mktemp("int8") / "n.bnn"
    told = []
    net = bnn_compiler.compile(
        model,
        (images(1),),
        target="x86-64-v3",
        output=path,
        rest="int8",
        calibration=images(),
        progress=told.append,
    )
    return model, net, told


def test_layers_that_are_not_binary_are_int8(compiled):
    _, net, told = compiled
    by_op = {}
    for step in net.manifest["steps"]:
        by_op.setdefault(step["op"], set()).add(step["name"])
    assert by_op["bnn.int8_conv2d"] == LAYERS == {r["layer"] for r in net.manifest["int8"]}
    assert len(by_op["bnn.conv2d"]) == 2 and "bnn.float_conv2d" not in by_op
    # The image becomes bytes in one step; elsewhere whoever makes a value makes its bytes.
    assert not by_op.keys() & {"bnn.map", "bnn.to_nhwc"} and "bnn.image_bytes" in by_op
    assert sum("quantize" in s["fused"] for s in net.manifest["steps"]) == 3
    # No cost model has seen such kernels.
    int8 = [s for s in net.manifest["steps"] if s["op"] == "bnn.int8_conv2d"]
    assert {s["schedule"]["source"] for s in int8} == {"rule", "fixed"}
    assert any("of the calibration samples" in line for line in told)


def test_bits_are_those_of_the_quantised_network(compiled):
    model, net, _ = compiled
    x = images(1, seed=7)
    graph = Network.of(model, (x,)).fused(Options.of_manifest(net.manifest))
    values = {v.name: value for v, value in evaluate.run(graph, [x.numpy()]).items()}
    (output,) = graph.outputs
    np.testing.assert_array_equal(net.run(x.numpy()), values[output.name].reshape(1, 7))


def test_verify(compiled):
    model, net, _ = compiled
    report = bnn_compiler.verify(net, model, [images(1, seed=7), images(1, seed=8)])
    assert report.ok, report.text()
    assert {q.name for q in report.int8} >= LAYERS
    errors = {q.name: q.error for q in report.int8 if q.error}
    assert "fc" in errors and max(errors.values()) < 0.05
    assert sum(f.elements for f in report.flips) > 0
    assert all(f.distance >= 0 for f in report.flips)
    assert "int8: " in report.text() and "turn around" in report.text()


def test_a_wrong_kernel_is_found(compiled, monkeypatch):
    model, net, _ = compiled
    row = OPERATORS["int8_conv2d"]

    def shifted(attrs, *data):
        return row.meaning(attrs, *data) + np.float32(2**-10)

    monkeypatch.setitem(OPERATORS, "int8_conv2d", replace(row, meaning=shifted))
    report = bnn_compiler.verify(net, model, [images(1, seed=7)])
    assert any("(int8)" in fault for fault in report.faults), report.faults


def test_named_layers_stay_in_float(tmp_path):
    net = bnn_compiler.compile(
        trained(),
        (images(1),),
        target="x86-64-v3",
        output=tmp_path / "n.bnn",
        rest="int8",
        calibration=[images(3), images(1)],
        calibrate_by="min-max",
        float_layers=["fc", "stem"],
    )
    assert {s["name"] for s in net.manifest["steps"] if s["op"] == "bnn.float_conv2d"} == {
        "fc",
        "stem",
    }
    assert {r["layer"] for r in net.manifest["int8"]} == LAYERS - {"fc", "stem"}


def test_byte_images_are_the_quantised_input(tmp_path):
    model = trained()
    x = np.random.default_rng(0).integers(0, 256, (5, 3, 32, 32), np.uint8)
    net = bnn_compiler.compile(
        model,
        (images(1),),
        target="x86-64-v3",
        output=tmp_path / "n.bnn",
        rest="int8",
        calibration=x,
        input_dtype="uint8",
        **IMAGENET,
    )
    ops = [s["op"] for s in net.manifest["steps"]]
    assert "bnn.image_bytes" not in ops and "bnn.byte_conv2d" not in ops
    assert {b["dtype"] for b in net.manifest["buffers"]} >= {"uint8"}
    report = bnn_compiler.verify(net, model, [x[:1], x[1:2]])
    assert report.ok, report.text()
    # Padding is exactly 0, so the first layer is as near at the border as inside.
    stem = next(q for q in report.int8 if q.name == "stem")
    assert stem.mismatches == 0 and stem.error < 0.02


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"calibration": None}, "needs samples"),
        ({"calibration": []}, "no calibration samples"),
        ({"calibration": "images.npy"}, "not the path 'images.npy': load it first"),
        ({"calibration": torch.zeros(2, 3, 32, 31)}, r"\[1, 3, 32, 31\]"),
        ({"calibration": torch.zeros(2, 3, 32, 32, dtype=torch.float64)}, "float64"),
        ({"calibration": torch.full((1, 3, 32, 32), torch.nan)}, "NaN"),
        ({"calibration": torch.zeros(1, 3, 32, 32)}, "stem: its input is 0 everywhere"),
        ({"calibrate_by": "magic"}, "'min-max', 'percentile', 'mse', 'entropy'"),
        ({"float_layers": ["head"]}, "block_shortcut_1, depthwise, fc, stem"),
        ({"target": "cuda-sm90"}, "--rest float32"),
        ({"rest": "int4"}, "'float32', 'int8'"),
        ({"rest": "float32"}, "are for rest 'int8'"),
        ({"tolerance": 0.1}, "a tolerance is for rest 'auto'"),
        ({"rest": "auto", "calibration": None}, "rest 'auto' needs samples"),
        ({"rest": "auto", "tolerance": "0.1"}, "tolerance '0.1': give the share"),
        ({"rest": "auto", "tolerance": 2.0}, "tolerance 2.0: give the share"),
        ({"rest": "auto", "target": "cuda-sm90"}, "rest 'auto' is for CPUs"),
        ({"rest": "float32", "calibration": None, "calibrate_by": "mse"}, "are for rest 'int8'"),
    ],
)
def test_what_cannot_be_asked_for(given, message, tmp_path):
    wanted = {"rest": "int8", "calibration": images(2), "target": "x86-64-v3", **given}
    with pytest.raises(InputError, match=message):
        bnn_compiler.compile(trained(), (images(1),), output=tmp_path / "n.bnn", **wanted)


def test_what_pays_runs_as_int8(tmp_path, capsys):
    """The report of ``rest="auto"`` is in the manifest; what runs is what it says."""
    told = []
    net = bnn_compiler.compile(
        trained(),
        (images(1),),
        target="x86-avx512-vpopcnt",
        output=tmp_path / "n.bnn",
        rest="auto",
        tolerance=1.0,
        calibration=images(),
        float_layers=["fc"],
        progress=told.append,
    )
    rest = net.description.rest
    kinds = {one.layer: one.kind for one in rest.layers}
    assert kinds.keys() == LAYERS - {"fc"} and kinds["stem"] == "int8"
    assert [r.layer for r in net.description.int8] == [n for n in kinds if kinds[n] == "int8"]
    assert all((one.kind == "int8") == (one.saved > 0) for one in rest.layers)
    assert rest.seconds < rest.float_seconds and rest.samples == len(images())
    ops = {s.name: s.op for s in net.description.steps}
    assert ops["stem"] == "bnn.int8_conv2d" and ops["fc"] == "bnn.float_conv2d"
    assert any("layers run as int8" in line for line in told)
    assert cli.main(["inspect", str(tmp_path / "n.bnn")]) == 0
    assert "stem: int8, int8 is faster" in capsys.readouterr().out


def test_an_interrupt_while_layers_are_chosen_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(pace, "EVERY", 0.0)
    told = []

    def interrupt(line):
        told.append(line)
        if "layers alone" in line:
            raise KeyboardInterrupt

    options = {"rest": "auto", "calibration": images(1), "progress": interrupt}
    with pytest.raises(KeyboardInterrupt):
        bnn_compiler.compile(
            trained(), (images(1),), target="x86-64-v3", output=tmp_path / "n.bnn", **options
        )
    assert "choosing: the times of 1 of 4 layers, at most about" in told[2]
    assert not list(tmp_path.iterdir())


def test_check_lists_them_without_samples():
    model = trained()
    found = preview(model, (images(1),), target="x86-64-v3", options=Options(), float_layers=["fc"])
    kinds = {line.layer: line.kind for line in found.lines if line.family.startswith("int8")}
    assert kinds == dict.fromkeys(LAYERS - {"fc"}, "int8") and found.compiles


def test_command_line(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "images"
    folder.mkdir()
    np.save(folder / "a.npy", images(2).numpy())
    common = ["tests.test_int8:trained", "--shape", "1,3,32,32", "--target", "x86-64-v3"]
    wanted = [*common, "-o", "n.bnn", "--rest", "int8", "--calibrate", str(folder)]
    assert cli.main(["compile", *wanted, "--float", "fc", "--no-check"]) == 0
    assert cli.main(["inspect", "n.bnn"]) == 0
    assert "int8: stem, block_shortcut_1, depthwise" in capsys.readouterr().out
    assert cli.main(["compile", *wanted, "--calibrate", "tests.test_int8:none"]) == 2
    assert "no calibration samples" in capsys.readouterr().err
    assert cli.main(["check", *common, "--rest", "int8", "--json"]) == 0
    kinds = [line["kind"] for line in json.loads(capsys.readouterr().out)["layers"]]
    assert kinds.count("int8") >= 4


def none():
    return []


def test_methods_on_the_command_line(capsys):
    with pytest.raises(SystemExit):
        cli.main(["compile", "--help"])
    assert "{" + ",".join(METHODS) + "}" in capsys.readouterr().out
