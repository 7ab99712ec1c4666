"""Whole networks of a GPU's kernels, emulated, give the bits of the numpy reference."""

import shutil

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from bnn_compiler import target as targets
from bnn_compiler.cost.pick import Schedules
from bnn_compiler.ops import evaluate
from bnn_compiler.plan import plan, realize
from tests.kernels import test_products as products
from tests.kernels import test_shortcuts as shortcuts
from tests.kernels.cuda import emulated
from tests.network import fused
from tests.spellings import ALL
from tests.spellings.spelling import settle

#: Kinds of kernels that the others have not.
SPELLINGS = (
    "attention of computed signs",
    "enlarged by pixel shuffle",
    "reflected, folded, cut",
    "one dimension",
    "two-level, no padding",
)


def networks():
    """(name, module, its input)."""
    x = torch.randn(1, 3, 7, 6)
    counts = (20, 33, 70, 24, 16, 5)
    yield "shortcuts", shortcuts.Joined(None, counts, strides=(1, 3)), torch.randn(2, 3, 8, 8)
    yield "padded shortcuts", shortcuts.Joined(shortcuts.padded, (20, 33, 50, 48), tail=moved), x
    yield "channels of signs", shortcuts.OfSigns(), x
    yield "squeeze and excitation", products.Network(), x
    yield "products", products.Pairs(joined), x


def moved(x):
    tails = [tail(x) for tail in shortcuts.TAILS.values()]
    return F.interpolate(torch.cat(tails, 1), scale_factor=2, mode="bilinear")


def joined(*values):
    return torch.cat([join(*values) for join in products.JOINS.values()], 1)


@pytest.mark.skipif(shutil.which("c++") is None, reason="emulation needs a C++ compiler: g++")
def test_the_references_bits(tmp_path):
    torch.manual_seed(0)
    cases = [(name, shortcuts.settled(model), x) for name, model, x in networks()]
    for spelling in (s for s in ALL if s.name in SPELLINGS):
        x = torch.randn(spelling.shape)
        cases.append((spelling.name, settle(spelling.make(), spelling.shape), x))
    assert {c[0] for c in cases} >= set(SPELLINGS)
    schedules = Schedules.load(targets.load("cuda-sm90"), None)
    programs, functions = [], {}
    for name, model, x in cases:
        graph = fused(model, x)
        program, made = realize.realize(plan.plan(graph), schedules, "net")
        functions.update(made)
        values = evaluate.run(graph, [x.numpy()])
        programs.append((name, program, x.numpy(), [values[v] for v in graph.outputs]))
    loaded = emulated.library(functions, tmp_path)
    for name, program, x, wanted in programs:
        found = emulated.run_program(program, loaded, [x])
        for a, b in zip(found, wanted, strict=True):
            assert np.array_equal(a, b), name
