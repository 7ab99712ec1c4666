import importlib

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from bnn_compiler.errors import InputError, ModelError
from bnn_compiler.frontend.onnx import file
from bnn_compiler.frontend.onnx.load import load
from tests.frontend.onnx import networks
from tests.frontend.onnx.graphs import images, model, single


def test_what_it_recognises(tmp_path):
    proto = networks.binary()
    assert all(map(file.recognises, ["net.onnx", tmp_path / "Net.ONNX", proto, file.read(proto)]))
    assert not any(map(file.recognises, ["net.pt2", "package.onnx:factory", 3, None]))


def test_missing_and_malformed_files(tmp_path):
    with pytest.raises(ModelError, match=r"no file .*none\.onnx"):
        file.read(tmp_path / "none.onnx")
    bad = tmp_path / "bad.onnx"
    bad.write_bytes(b"\xff\xff\xff not a model")
    with pytest.raises(ModelError, match=r"bad\.onnx is not a readable ONNX model"):
        file.read(bad)
    bad.write_bytes(b"")
    with pytest.raises(ModelError, match=r"bad\.onnx is not a valid ONNX model"):
        file.read(bad)
    proto = networks.binary()
    proto.graph.node[0].input[0] = "nothing"
    with pytest.raises(ModelError, match="the ONNX model is not a valid ONNX model"):
        file.read(proto)


def test_without_the_package(monkeypatch):
    def missing(name, *args):
        assert name.startswith("onnx")
        raise ImportError("No module named 'onnx'")

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(
        ModelError, match=r"net\.onnx needs .*\(pip install 'bnn_compiler\[onnx\]'\)"
    ):
        file.read("net.onnx")


def test_old_versions_are_refused():
    proto = networks.binary()
    proto.opset_import[0].version = 9
    with pytest.raises(ModelError, match="opset 9; 11 is the oldest"):
        file.read(proto)


def test_external_data(tmp_path):
    proto, path = networks.binary(), tmp_path / "net.onnx"
    constants = file.read(proto).constants
    onnx.save(proto, path, save_as_external_data=True, location="weights", size_threshold=0)
    assert (tmp_path / "weights").stat().st_size > 10000
    found = file.read(path)
    assert all(np.array_equal(found.constants[k], v) for k, v in constants.items())
    (tmp_path / "weights").unlink()
    with pytest.raises(ModelError, match=r"net\.onnx is not a readable ONNX model"):
        file.read(path)


def test_halves_are_float32(caplog):
    found = file.read(networks.binary(dtype=np.float16))
    assert "half precision; it is compiled in float32" in caplog.text
    assert found.inputs[0].dtype == "float32"
    assert {v.dtype.name for v in found.constants.values()} == {"float32", "int64"}
    x = images(2, 3).astype(np.float16)
    cast, _ = single("Cast", [x], to=TensorProto.FLOAT16)
    assert file.read(cast).proto.graph.node[0].attribute[0].i == TensorProto.FLOAT


def test_functions_are_inlined():
    square = helper.make_function(
        "mine", "Square", ["a"], ["b"], [helper.make_node("Mul", ["a", "a"], ["b"])],
        [helper.make_opsetid("", 17)],
    )  # fmt: skip
    node = helper.make_node("Square", ["x"], ["y"], domain="mine")
    proto = model([node], {"x": (2, 3)}, domains=[("mine", 1)])
    proto.functions.append(square)
    assert [n.op_type for n in file.read(proto).proto.graph.node] == ["Mul"]


def test_integers_of_four_bits_are_of_eight():
    node = helper.make_node("DequantizeLinear", ["w", "s"], ["y"])
    proto = model([node], {"x": (1,)}, constants={"s": np.float32(0.5)}, opset=21, ir=10)
    w = helper.make_tensor("w", TensorProto.INT4, [3], np.array([-8, 0, 7]))
    proto.graph.initializer.append(w)
    assert file.read(proto).constants["w"].tolist() == [-8, 0, 7]
    assert file.read(proto).constants["w"].dtype == np.int8


def test_floats_of_eight_bits_are_refused():
    proto = model([helper.make_node("Relu", ["x"], ["y"])], {"x": (2, 3)})
    proto.graph.initializer.append(helper.make_tensor("tiny", TensorProto.FLOAT8E5M2, [1], [1.0]))
    with pytest.raises(ModelError, match=r"initialiser 'tiny' is float8_e5m2; floats of 16"):
        file.read(proto)


def test_open_sizes_need_examples():
    proto = networks.qdq()
    with pytest.raises(InputError, match=r"input 'x' .* shape \?,3,12,12; .*--shape 1,3,12,12"):
        load(proto, None, None)
    given = images(2, 3, 12, 11)
    with pytest.raises(
        InputError, match=r"shape \['\?', 3, 12, 12\], the example is \[2, 3, 12, 11"
    ):
        load(proto, None, [given])
    with pytest.raises(InputError, match="takes 1 inputs, 2 were given"):
        load(proto, None, [given, given])
    with pytest.raises(InputError, match="is float32, the example is int64"):
        load(proto, None, [np.zeros((1, 3, 12, 12), np.int64)])
    with pytest.raises(ModelError, match="a checkpoint goes with a module"):
        load(proto, "weights", None)
