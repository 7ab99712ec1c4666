"""Compiling takes a few times the model's size, measured in a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

#: 9216 inputs, as in AlexNet's first dense layer: thresholds are found on 18433 integers.
SCRIPT = """
import resource, sys, torch
from torch import nn
import bnn_compiler
from bnn_compiler.nn import BinaryLinear, Sign

def network(*widths):
    layers = []
    for inputs, outputs in zip(widths, widths[1:]):
        layers += [Sign(), BinaryLinear(inputs, outputs), nn.BatchNorm1d(outputs)]
    torch.manual_seed(0)
    return nn.Sequential(*layers).eval()

def compile(model, inputs):
    bnn_compiler.compile(
        model, (torch.randn(1, inputs),), target="x86-64-v3", output=sys.argv[1]
    )
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

compile(network(64, 64, 64), 64)
model = network(9216, 1536, 1536)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
size = sum(4 * p.numel() for p in model.parameters())
print((compile(model, 9216) - before) / size)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="ru_maxrss is in other units")
def test_large_dense_layers_take_a_few_times_their_size(tmp_path):
    ran = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", SCRIPT, str(tmp_path / "n.bnn")],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    # About 2; it was 28 when every channel's thresholds were found at once.
    assert float(ran.stdout) < 6
