"""ONNX networks, from the file to a verified artifact."""

import json
import re
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

import bnn_compiler
from bnn_compiler import cli
from bnn_compiler.errors import InputError, ModelError
from bnn_compiler.latency.space import PlanSpace
from bnn_compiler.network import Network
from bnn_compiler.ops import relax_ops as ops
from bnn_compiler.ops.graph import base_name
from bnn_compiler.options import DEFAULT
from tests.frontend.onnx import networks
from tests.frontend.onnx.graphs import images

TARGET = "x86-64-v3"


def operators(net):
    found = {}
    for step in net.manifest["steps"]:
        found.setdefault(step["op"].removeprefix("bnn."), []).append(step["name"])
    return found


@pytest.mark.parametrize("spelling", networks.SPELLINGS)
def test_a_sign_is_one_however_it_is_spelled(spelling):
    graph = Network.of(networks.binary(spelling), None).fused(DEFAULT)
    found = [v.name for v, c in graph.values.items() if ops.called(c) == "relax.bnn.conv2d"]
    assert [base_name(name) for name in found] == ["layer1_0_Add"]


def test_a_binary_network_by_the_command_line(tmp_path, capsys):
    source, artifact = tmp_path / "net.onnx", tmp_path / "net.bnn"
    onnx.save(networks.binary(), source)
    assert cli.main(["check", str(source), "--target", TARGET]) == 0
    assert "layer1_0_Conv" in capsys.readouterr().out
    given = ["compile", str(source), "--target", TARGET, "-o", str(artifact), "--json"]
    assert cli.main(given) == 0
    steps = json.loads(capsys.readouterr().out)["steps"]
    assert [s["name"] for s in steps if s["binary"]] == ["layer1_0_Conv"]
    assert cli.main(["verify", str(artifact), str(source)]) == 0
    x = images(1, 3, 12, 12, seed=3)
    from onnx.reference import ReferenceEvaluator

    wanted = ReferenceEvaluator(_without_qonnx(source)).run(None, {"x": x})[0]
    np.testing.assert_allclose(bnn_compiler.load(artifact).run(x), wanted, rtol=1e-3, atol=1e-3)


def _without_qonnx(path):
    proto = onnx.load(path)
    del proto.opset_import[1:]
    return proto


@pytest.mark.parametrize("rest", ["float32", "int8"])
def test_levels_keep_their_scales(rest, tmp_path):
    proto, x = networks.qdq(), images(4, 3, 12, 12)
    net = bnn_compiler.compile(proto, (x,), target=TARGET, output=tmp_path / "n.bnn", rest=rest)
    found = operators(net)
    kind = "int8_conv2d" if rest == "int8" else "float_conv2d"
    assert found[kind] == ["stem", "fc"] and found["conv2d"] == ["layer"]
    report = bnn_compiler.verify(net, proto, [x, images(4, 3, 12, 12, seed=1)])
    assert report.ok, report.text()


@pytest.mark.parametrize("bits", [1, 4])
def test_qonnx(bits, tmp_path):
    proto = networks.qonnx(bits)
    net = bnn_compiler.compile(proto, target=TARGET, output=tmp_path / "n.bnn", rest="int8")
    found = operators(net)
    assert found["int8_conv2d"] == ["stem"] and found["conv2d"] == ["layer"]
    report = bnn_compiler.verify(net, proto, [images(2, 3, 12, 12, seed=1)])
    assert report.ok, report.text()


def test_several_batches(tmp_path):
    proto, x = networks.qdq(), images(1, 3, 12, 12)
    net = bnn_compiler.compile(
        proto, (x,), target=TARGET, output=tmp_path / "n.bnn", batches=(1, 2), check=False
    )
    assert bnn_compiler.verify(net, proto, [x, images(2, 3, 12, 12)]).ok
    with pytest.raises(InputError, match="export again for another shape, or with a dynamic batch"):
        Network.of_batches(networks.binary(), None, (2,))


def test_other_names_and_an_unknown_operator(tmp_path, capsys):
    proto = networks.binary()
    proto.graph.node[1].op_type = "BatchNormalisation"
    proto.graph.node[1].domain = "mine"
    proto.opset_import.append(onnx.helper.make_opsetid("mine", 1))
    onnx.save(proto, tmp_path / "net.onnx")
    assert cli.main(["check", str(tmp_path / "net.onnx"), "--target", TARGET]) == 1
    told = capsys.readouterr().out
    assert "ONNX BatchNormalisation at /bn/BatchNormalization" in told.replace("\n", " ")
    assert "BatchNormalization" in told


def test_operators_are_listed(capsys):
    with pytest.raises(SystemExit):
        cli.main(["check", "--operators"])
    listed = capsys.readouterr().out.splitlines()
    assert {"conv2d", "onnx.Conv", "onnx.BipolarQuant", "onnx.QLinearAdd"} <= set(listed)


def test_what_needs_a_module_says_so():
    with pytest.raises(ModelError, match="an ONNX model has its channels written into it"):
        PlanSpace.of("net.onnx", (torch.zeros(1, 3, 12, 12),))


def test_the_commands_of_the_page_run(tmp_path, monkeypatch, capsys):
    """With the shapes of a small network; the one of several batches leaves its batch open."""
    page = Path(__file__).parents[3] / "docs" / "onnx.md"
    commands = re.findall(r"^    bnnc (.+)$", page.read_text(), re.M)
    assert len(commands) == 4
    monkeypatch.chdir(tmp_path)
    for command in commands:
        given = command.replace("224,224", "12,12").split()
        onnx.save(networks.qdq() if "--batch" in given else networks.binary(), "net.onnx")
        if "--batch" in given:
            given[given.index("net.bnn")] = "several.bnn"
        assert cli.main(given) == 0, command
        capsys.readouterr()
