"""Networks that take turns on the stub of the driver, which looks at every launch's arguments.

The stub does not look at machine code, so a few lines of shell are its compiler (playing no part in
what is tested), and kernels do nothing.
"""

import json
import math
import os
import subprocess

import pytest
import torch

from bnn_compiler import target as targets
from bnn_compiler import zoo
from bnn_compiler.cost.pick import Schedules
from bnn_compiler.deploy.cpu import link
from bnn_compiler.deploy.cuda import turns
from bnn_compiler.device.measure import Plan, run_here
from bnn_compiler.errors import BuildError
from bnn_compiler.kernels.cuda import codegen
from bnn_compiler.network import Network
from bnn_compiler.options import Options
from bnn_compiler.plan import plan, realize
from tests import edge
from tests.deploy.cuda import stub

GPU = targets.load("cuda-sm90")
NVCC = """#!/bin/sh
while [ "$1" != -ptx ]; do shift; done
echo .target sm_90 >"$4"
sed -n 's/.*__global__.* \\(\\w*\\)(.*/.entry \\1 griddepcontrol.wait/p' "$2" >>"$4"
"""
PTXAS = """#!/bin/sh
while [ "$1" != -o ]; do shift; done
printf '\\177ELF' >"$2"
"""


def compilers(folder, patch):
    """nvcc and ptxas of a few lines."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in (("nvcc", NVCC), ("ptxas", PTXAS)):
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    patch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")


def does_nothing(folder, rows):
    """The stub's environment: ``rows`` of kernels by symbol, which do nothing."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "launches.txt").write_text("\n".join(rows.values()) + "\n")
    symbols = {row.split()[1] for row in rows.values()}
    code = "\n".join(f"int {s}_cpu(void **p) {{ return 0; }}" for s in sorted(symbols))
    (folder / "none.c").write_text(code)
    link.run([*link.compiler(), "-shared", "-fPIC", "none.c", "-o", "none.so"], folder)
    return {
        "LD_LIBRARY_PATH": str(stub.driver(folder / "driver")),
        "STUB_KERNELS": str(folder / "none.so"),
        "STUB_LAUNCHES": str(folder / "launches.txt"),
        "STUB_SM": "90",
    }


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """(networks of 1 and 2 images, the program that times them, the stub's environment)"""
    folder = tmp_path_factory.mktemp("turns")
    with pytest.MonkeyPatch.context() as patch:
        compilers(folder / "bin", patch)
        model, x = edge.binary_net(16), torch.randn(1, 3, 5, 5)
        zoo.randomize(model, x)
        networks, rows = [], {}
        for batch in (1, 2):
            examples = (x.repeat(batch, 1, 1, 1),)
            planned = plan.plan(Network.of(model.eval(), examples).fused(Options()))
            name = f"net{batch}"
            program, functions = realize.realize(planned, Schedules.load(GPU), name)
            networks.append(turns.compiled(program, functions, GPU))
            code = stub.device_code(program, codegen.kernels(functions, GPU.tvm)[1])
            rows |= {line.split()[0]: line for line in stub.table(program, code).splitlines()}
        built = turns.build(folder / "turns", networks)
        return networks, built, does_nothing(folder, rows)


def test_times_of_a_round(made, monkeypatch):
    (ahead, other), built, environment = made
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    found = run_here(built, Plan(repeats=2, burst=1e-6, limit=60)).found
    assert found is not None
    assert found.name == f"{turns.identity([ahead, other])} Stub 0"
    each = 1e-3 * stub.MILLISECONDS
    round_ = [ahead.steps * each, other.steps * each, *[each] * other.steps]
    assert found.seconds == pytest.approx(round_ * 2, rel=1e-3)


def test_only_indices_are_carried(made):
    networks, built, _ = made
    for network in networks:
        # Classes of 5 rows and 5 columns of images with zero padding.
        assert {size for _, size in network.described["indices"]} <= {20}
        assert len(network.indices) == sum(size for _, size in network.described["indices"]) > 0
        assert network.described["weights"] > 10 * len(network.indices)
    first = built.constants.read_bytes().partition(b"\n")[0]
    assert json.loads(first)["id"] == turns.identity(networks) != turns.identity(networks[::-1])
    assert math.prod(networks[1].described["kernels"][0]["grid"]) > 0


def test_without_a_driver_it_says_so(made, tmp_path):
    _, built, _ = made
    (tmp_path / "libcuda.so.1").write_text("")
    command = [str(built.path), "--gpu"]
    path = {"LD_LIBRARY_PATH": str(tmp_path), "PATH": os.environ["PATH"]}
    done = subprocess.run(command, env=path, capture_output=True, text=True, check=False)
    assert done.returncode == 126 and "no NVIDIA driver here" in done.stdout


def test_one_network_takes_no_turns(made, tmp_path):
    (ahead, _), *_ = made
    with pytest.raises(BuildError, match="at least"):
        turns.build(tmp_path / "turns", [ahead])
