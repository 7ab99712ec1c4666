"""Every spelling of public code: PyTorch's numbers, and binary layers stay binary."""

import pytest
import torch

import bnn_compiler
from bnn_compiler import target as targets
from bnn_compiler.cost.pick import Schedules
from bnn_compiler.kernels.cuda import codegen
from bnn_compiler.plan import plan, realize
from tests.network import anchors, assert_agrees
from tests.spellings import ALL, NOT_YET
from tests.spellings.spelling import settle


def _case(spelling):
    why = NOT_YET.get(spelling.name)
    return pytest.param(
        spelling, id=spelling.name, marks=pytest.mark.xfail(reason=why) if why else ()
    )


@pytest.mark.parametrize("spelling", [_case(s) for s in ALL])
def test_agrees_and_stays_binary(spelling):
    torch.manual_seed(0)
    model = settle(spelling.make(), spelling.shape)
    graph = assert_agrees(model, torch.randn(spelling.shape))
    binary = anchors(graph, "conv2d") + anchors(graph, "matmul")
    assert len(binary) >= spelling.binary
    assert len(anchors(graph, "float_conv2d")) <= spelling.floats
    assert_has_gpu_kernels(graph)


def assert_has_gpu_kernels(graph):
    """Whatever a CPU computes a GPU does: each kernel becomes CUDA source."""
    gpu = Schedules.load(targets.load("cuda-sm90"), None)
    program, functions = realize.realize(plan.plan(graph), gpu, "net")
    _, launches = codegen.kernels(functions, gpu.target.tvm)
    assert set(launches) == {step.kernel for step in program.steps}
    for launch in launches.values():
        assert 1 <= launch.block[0] * launch.block[1] * launch.block[2] <= 1024


def test_every_name_is_of_one_spelling():
    names = [s.name for s in ALL]
    assert len(set(names)) == len(names)
    assert set(NOT_YET) <= set(names)


def test_pooled_signs_are_compared(tmp_path):
    (spelling,) = (s for s in ALL if s.name == "pooled signs, +1 at zero")
    model, x = settle(spelling.make(), spelling.shape), torch.randn(spelling.shape)
    artifact = bnn_compiler.compile(model, (x,), output=tmp_path / "net.bnn")
    report = bnn_compiler.verify(artifact, model, [x])
    assert report.ok, report.text()
    assert len(report.signs) == 2
