"""What the compiler emits: instructions, and binary convolutions over the whole attribute grid."""

import itertools
import re

import numpy as np
import pytest
from tvm import relax

from bnn_compiler import target as targets
from bnn_compiler.cost.pick import Schedules
from bnn_compiler.kernels.cpu import codegen
from bnn_compiler.kernels.grouping import expand, merge
from bnn_compiler.ops import relax_ops as ops
from bnn_compiler.ops.epilogue import Epilogue, Output
from bnn_compiler.ops.graph import Graph
from bnn_compiler.plan import plan, realize


def graph_of(channels, outputs, groups=1):
    ops.register()
    rng = np.random.default_rng(0)
    w = rng.choice([-1, 1], (outputs, 3, 3, channels // groups)).astype(np.int8)
    zeros = [relax.const(np.zeros(n, np.float32)) for n in (channels, outputs)]
    x = relax.Var("x", relax.TensorType([1, channels, 14, 14], "float32"))
    window = {"strides": [1, 1], "padding": [1, 1, 1, 1], "dilation": [1, 1]}
    bb = relax.BlockBuilder()
    with bb.function("main", [x]):
        with bb.dataflow():
            image = bb.emit(relax.op.permute_dims(x, [0, 2, 3, 1]))
            bits = bb.emit(ops.anchor("map", [image], Epilogue((), (Output(">=", 0),)), zeros[:1]))
            y = bb.emit(
                ops.anchor("conv2d", [bits, relax.const(w)], groups=groups, pad_value=0, **window)
            )
            out = bb.emit_output(bb.emit(relax.op.permute_dims(y, [0, 3, 1, 2])))
        bb.emit_func_output(out)
    return Graph.of(bb.get())


@pytest.mark.parametrize(
    ("target", "instruction"),
    [
        ("x86-avx512-vpopcnt", r"vpopcntd\t.*%zmm"),
        ("x86-64-v4", r"vpshufb\t.*%zmm"),
        ("x86-64-v3", r"vpshufb\t.*%ymm"),
    ],
)
def test_the_right_popcount(target, instruction):
    device = targets.load(target)
    _, functions = realize.realize(plan.plan(graph_of(256, 256)), Schedules(device), "net")
    text = codegen.build(functions, device).inspect_source("s")
    assert len(re.findall(instruction, text)) >= 4
    assert "TVMBackendAllocWorkspace" not in text, "a tile left the registers for the heap"


def test_grouping_covers_every_real_weight_once():
    for channels, groups in itertools.product((1, 3, 32, 33, 48, 96), (1, 2, 3, 32)):
        if channels % groups:
            continue
        grouping = merge(channels, 2 * channels, groups, 32)
        w = np.ones((2 * channels, 1, 1, channels // groups), np.int8)
        wide, real = expand(w, groups, grouping)
        assert wide.sum() == w.sum() == real.sum()
        assert grouping.merged * grouping.inputs >= channels
        assert grouping.merged * grouping.outputs >= 2 * channels
        assert grouping.outputs % 16 == 0
