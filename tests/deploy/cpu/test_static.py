"""An artifact in one file stores the weights once; its archive is completed from its library."""

import subprocess

import numpy as np
import pytest
import torch

import bnn_compiler
from bnn_compiler import zoo
from bnn_compiler.deploy.cpu import link, static
from bnn_compiler.runtime import files
from tests import edge

MAIN = """
#include <stdio.h>
#include "net.h"
static float x[2 * 3 * 8 * 8], y[2 * 7];
static _Alignas(64) unsigned char workspace[NET_WORKSPACE_BYTES];
int main(void) {
  if (fread(x, sizeof x, 1, stdin) != 1 || net_run(x, y, workspace)) return 1;
  return fwrite(y, sizeof y, 1, stdout) != 1;
}
"""


def test_weights_are_stored_once(tmp_path):
    model, x = edge.binary_net(64), torch.randn(2, 3, 8, 8)
    zoo.randomize(model, x)
    net = bnn_compiler.compile(model, (x,), output=tmp_path / "net.bnn")
    bnn_compiler.compile(model, (x,), output=tmp_path / "net", as_folder=True)
    one, folder = files.read(tmp_path / "net.bnn"), files.read(tmp_path / "net")
    offset, size = one.manifest["weights_offset"], one.manifest["weights_bytes"]
    weights = one.library[offset : offset + size]
    assert len(weights) == size and weights not in one.archive and weights in folder.archive
    for found in (one, folder):
        work = tmp_path / f"work{found.manifest['static_weights']}"
        work.mkdir()
        (work / "main.c").write_text(MAIN)
        (work / "net.h").write_bytes(found.members["net.h"])
        linked = [str(p) for p in static.unpack(found, work)]
        command = [*link.compiler(), "main.c", "-I.", "-o", "main", "-pthread"]
        link.run([*command, *linked], work)
        done = subprocess.run([work / "main"], input=x.numpy().tobytes(), capture_output=True)
        y = np.frombuffer(done.stdout, np.float32).reshape(2, 7)
        np.testing.assert_array_equal(y, net.run(x).numpy())
    # By hand, without the weights, nothing is linked.
    work = tmp_path / "workFalse"
    with pytest.raises(bnn_compiler.errors.BuildError, match="net_weights"):
        link.run([*link.compiler(), "main.c", "net.a", "-o", "other", "-pthread"], work)
