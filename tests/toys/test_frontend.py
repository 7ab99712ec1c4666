"""A front end in one file and one entry of FRONTENDS: nets are lists of dictionaries, in numpy.

Each operator is a row: how the builder writes it, and what it means, for the oracle.
"""

import ast
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

import bnn_compiler
from bnn_compiler.errors import MismatchError, ModelError, UnsupportedError, VerifyError
from bnn_compiler.frontend import table
from bnn_compiler.frontend.builder import Builder
from bnn_compiler.frontend.imported import Imported
from bnn_compiler.frontend.oracle import Observation, Truth
from bnn_compiler.frontend.value import Place

PACKAGE = Path(bnn_compiler.__file__).parent

# ---- the front end


def _conv(x, layer):
    """Padded with 0; in the precision of ``x``."""
    w, p = layer["weight"].astype(x.dtype), layer.get("pad", 0)
    padded = np.pad(x, ((0, 0), (0, 0), (p, p), (p, p)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, w.shape[2:], (2, 3))
    return np.einsum("nchwyx,ocyx->nohw", windows, w)


@dataclass(frozen=True)
class Row:
    """``write(builder, layer, *values)`` and ``meaning(layer, *arrays)``."""

    write: Callable
    meaning: Callable


OPERATORS = {
    "conv": Row(
        lambda b, layer, x: b.conv2d(x, layer["weight"], padding=(layer.get("pad", 0),) * 4),
        lambda layer, x: _conv(x, layer),
    ),
    "scale": Row(
        lambda b, layer, x: b.add(b.multiply(x, layer["scale"]), layer["shift"]),
        lambda layer, x: x * layer["scale"] + layer["shift"],
    ),
    "sign": Row(
        lambda b, layer, x: b.sign(x, 1),
        lambda layer, x: np.where(x >= 0, 1, -1).astype(x.dtype),
    ),
    "add": Row(lambda b, layer, x, y: b.add(x, y), lambda layer, x, y: x + y),
    "leaky": Row(
        lambda b, layer, x: b.leaky_relu(x, layer["slope"]),
        lambda layer, x: np.where(x > 0, x, x * np.float32(layer["slope"])),
    ),
    "max_pool": Row(
        lambda b, layer, x: b.max_pool2d(x, (2, 2), strides=(2, 2)),
        lambda layer, x: x.reshape(*x.shape[:2], x.shape[2] // 2, 2, -1, 2).max((3, 5)),
    ),
    "flatten": Row(
        lambda b, layer, x: b.flatten(x),
        lambda layer, x: x.reshape(len(x), -1),
    ),
    "linear": Row(
        lambda b, layer, x: b.linear(x, layer["weight"], layer["bias"]),
        lambda layer, x: x @ layer["weight"].T.astype(x.dtype) + layer["bias"],
    ),
}


def _sources(net, index):
    """The values a layer reads: those it names, else the one before it."""
    return net[index].get("of", [net[index - 1]["name"]] if index else ["image"])


@dataclass(frozen=True)
class Numpy:
    """The oracle: float32 beside float64, in which signs decide alike."""

    net: list
    origins: dict

    def _run(self, x):
        single, double, before = {"image": x}, {"image": x.astype(np.float64)}, {}
        for i, layer in enumerate(self.net):
            meaning, names = OPERATORS[layer["op"]].meaning, _sources(self.net, i)
            single[layer["name"]] = meaning(layer, *(single[n] for n in names)).astype(np.float32)
            double[layer["name"]] = meaning(layer, *(double[n] for n in names))
            if layer["op"] == "sign":
                double[layer["name"]] = single[layer["name"]].astype(np.float64)
                before[layer["name"]] = names[0]
        return single, double, before

    def observe(self, inputs, wanted):
        """Everything the protocol asks for."""
        single, double, before = self._run(*inputs)

        def rounding(name):
            lost = np.abs(single[name] - double[name]).max()
            return float(8 * lost + 2.0**-18 * np.abs(double[name]).max())

        def nhwc(value, shape):
            n, h, w, c = shape
            return value.reshape(n, c, h, w).transpose(0, 2, 3, 1)

        def truth(origin):
            value = nhwc(single[origin.value], origin.shape)
            if not origin.source:
                return Truth(value, rounding(origin.value))
            margin = nhwc(np.abs(double[before[origin.value]]), origin.shape)
            return Truth(value, rounding(origin.source), margin)

        kept = {n: truth(o) for n, o in self.origins.items() if n in wanted or o.source}
        last = self.net[-1]["name"]
        output = Truth(single[last], rounding(last))
        return Observation([output], [output], kept, 0)

    def exact_difference(self, inputs):
        """A net is its own graph."""
        return 0.0


def load(net, checkpoint, example_inputs):
    """A list of layers, imported for one image."""
    (x,) = (np.asarray(x, np.float32) for x in example_inputs)
    builder = Builder({"image": x.shape})
    digest = hashlib.sha256()
    with builder.main():
        builder.at(Place("image", "", "the image"))
        values = {"image": builder.input("image")}
        builder.remember(values["image"], "image")
        for i, layer in enumerate(net):
            builder.at(Place(layer["name"], layer["name"], f"{layer['op']} at {layer['name']!r}"))
            row, sources = OPERATORS.get(layer["op"]), _sources(net, i)
            if row is None:
                raise builder.fail(f"unknown; known: {', '.join(OPERATORS)}")
            value = row.write(builder, layer, *(values[n] for n in sources))
            builder.remember(value, layer["name"], sources[0] if layer["op"] == "sign" else "")
            values[layer["name"]] = value
            digest.update(repr([(k, np.asarray(v).tolist()) for k, v in layer.items()]).encode())
        builder.output(value)
    oracle = Numpy(net, builder.origins)
    return Imported(builder.module(), digest.hexdigest(), builder.origins, (x,), oracle)


TOY = table.FrontEnd(("a list of layers",), (), lambda spec: isinstance(spec, list), load)

# ---- its tests


@pytest.fixture
def toy(monkeypatch):
    monkeypatch.setitem(table.FRONTENDS, "toy", TOY)


def _net():
    draw = np.random.default_rng(3)
    normal = lambda *shape: draw.normal(size=shape).astype(np.float32)  # noqa: E731
    signs = lambda *shape: np.sign(normal(*shape)).astype(np.float32)  # noqa: E731
    return [
        {"op": "conv", "name": "stem.conv", "weight": normal(16, 3, 3, 3), "pad": 1},
        {"op": "max_pool", "name": "stem.pool"},
        {"op": "sign", "name": "block.sign"},
        {"op": "conv", "name": "block.conv", "weight": signs(16, 16, 3, 3), "pad": 1},
        {
            "op": "scale",
            "name": "block.norm",
            "scale": np.float32(0.125),
            "shift": normal(16, 1, 1),
        },
        {"op": "add", "name": "block.add", "of": ["block.norm", "stem.pool"]},
        {"op": "leaky", "name": "block.leaky", "slope": 0.25},
        {"op": "flatten", "name": "flat"},
        {"op": "linear", "name": "head", "weight": normal(5, 256) / 16, "bias": normal(5)},
    ]


def _image():
    return np.random.default_rng(4).normal(size=(1, 3, 8, 8)).astype(np.float32)


def test_a_net_compiles_and_is_verified_by_its_own_oracle(toy, tmp_path):
    net, x = _net(), _image()
    artifact = bnn_compiler.compile(net, (x,), output=tmp_path / "n.bnn")
    wanted = Numpy(net, {})._run(x)[0]["head"]
    np.testing.assert_allclose(artifact.run(x), wanted, rtol=1e-4, atol=1e-4)
    assert sum(step["binary"] for step in artifact.manifest["steps"]) == 1
    report = bnn_compiler.verify(artifact, net, [x, -x])
    assert report.ok, report.text()
    assert [s.name for s in report.signs] == ["block_sign"] and not report.unchecked
    assert {v.name for v in report.layers} >= {"stem_pool", "block_leaky"}, report.layers


def test_a_fault_of_its_importer_is_found(toy, monkeypatch, tmp_path):
    wrong = Row(lambda b, layer, x: b.leaky_relu(x, 0.5), OPERATORS["leaky"].meaning)
    monkeypatch.setitem(OPERATORS, "leaky", wrong)
    with pytest.raises(MismatchError, match="block_leaky"):
        bnn_compiler.compile(_net(), (_image(),), output=tmp_path / "n.bnn")


def test_other_weights_are_another_network(toy, tmp_path):
    net, x = _net(), _image()
    artifact = bnn_compiler.compile(net, (x,), output=tmp_path / "n.bnn")
    net[-1]["bias"][0] += 1
    with pytest.raises(VerifyError, match="another network"):
        bnn_compiler.verify(artifact, net, [x])


def test_errors_name_the_operator_and_its_layer(toy, tmp_path):
    for layer, match in (
        ({"op": "gelu", "name": "a.b"}, r"^gelu at 'a.b': unknown; known: conv, "),
        (_net()[-1] | {"of": ["stem.pool"]}, r"^linear at 'head': needs .* a \[N, F\] input"),
        (_net()[3] | {"of": ["image"]}, r"^conv at 'block.conv': a weight of .* for 3 channels"),
    ):
        with pytest.raises(UnsupportedError, match=match):
            bnn_compiler.compile([*_net(), layer], (_image(),), output=tmp_path / "n.bnn")


def test_without_its_entry_what_is_known_is_listed(tmp_path):
    with pytest.raises(
        ModelError, match=r"cannot compile a list; give an onnx\.ModelProto, an nn\.Module"
    ):
        bnn_compiler.compile(_net(), (_image(),), output=tmp_path / "n.bnn")


def test_what_a_front_end_is_written_against_knows_no_framework():
    files = [*(PACKAGE / "verification").glob("*.py"), *(PACKAGE / "frontend").glob("*.py")]
    for path in {PACKAGE / "network.py", *files} - {PACKAGE / "frontend" / "table.py"}:
        names = set()
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                names |= {f"{node.module}.{alias.name}" for alias in node.names}
        assert not [n for n in names if "torch" in n.split(".") or "pytorch" in n.split(".")], path
