"""What the order of float32 sums explains of a layer in half precision, and what it does not."""

import numpy as np
import pytest
import torch
from torch import nn

from bnn_compiler.ops import evaluate, half
from bnn_compiler.ops import relax_ops as ops
from bnn_compiler.ops.graph import array
from bnn_compiler.ops.window import Window
from bnn_compiler.verification import halves
from tests.network import computed


@pytest.fixture(scope="module")
def layer():
    """A layer whose slope turns back at 0: its call, what it reads by name, and its sums' sizes."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(16, 20, 3, padding=1, bias=False), nn.PReLU(20, -0.25)).eval()
    x = torch.randn(1, 16, 24, 24)
    graph, _, _ = computed(model, x, allow_reorder=True, half=True)
    values = evaluate.run(graph, [x.numpy()])
    ((var, call),) = [
        (v, c) for v, c in graph.values.items() if ops.anchor_name(c) == "half_conv2d"
    ]
    named = {v.name: value for v, value in values.items()}
    return call, named, values[var]


def test_another_order_is_no_mismatch(layer):
    call, values, found = layer
    x = values[call.args[0].name]
    weights = array(call.args[1])
    sizes = half.conv2d(np.abs(x), np.abs(weights), Window.of(call.attrs, (3, 3)))
    rng = np.random.default_rng(0)
    sums = half.conv2d(x, weights, Window.of(call.attrs, (3, 3)))
    moved = (sums + rng.uniform(-1, 1, sums.shape) * half.ORDER * sizes / 2).astype(np.float32)
    turned = np.where(moved > 0, moved, np.float32(-0.25) * moved)
    assert halves.mismatches(call, 0, found, values) == 0
    assert halves.mismatches(call, 0, turned, values) == 0


def test_one_large_activation_excuses_no_other(layer):
    call, values, found = layer
    name = call.args[0].name
    large = values[name].copy()
    large[0, 3, 3, 5] = 1e6
    changed = {**values, name: large}
    near = np.zeros(found.shape, bool)
    near[0, 2:5, 2:5] = True
    wrong = np.where(near, np.inf, found + 1).astype(np.float32)
    assert halves.mismatches(call, 0, wrong, changed) == np.count_nonzero(~near)
