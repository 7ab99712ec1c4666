"""A network around which everything is real but the GPU: every scenario of scenarios.py."""

import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from bnn_compiler import zoo
from bnn_compiler.deploy.cpu import link
from bnn_compiler.nn import BinaryConv2d, Sign
from tests import edge
from tests.deploy.cuda import stub
from tests.frontend.pytorch.test_integer_inputs import Tokens, tokens
from tests.network import Applied
from tests.zoo.test_networks import make


class Two(nn.Module):
    """Halos of +1 bits, of odd and half words, and of none; a shortcut; two outputs."""

    def __init__(self):
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, 40, 3, padding=1), nn.BatchNorm2d(40))
        self.binary = nn.ModuleList(
            nn.Sequential(
                Sign(), BinaryConv2d(40, 40, 3, padding=1, pad_value=p), nn.BatchNorm2d(40)
            )
            for p in (1, 0, 1)
        )
        self.last = nn.Linear(40, 5)

    def forward(self, x):
        y = self.first(x)
        for layer in self.binary:
            y = y + layer(y)
        pooled = y.mean((2, 3))
        return self.last(pooled), pooled


@pytest.fixture(scope="module")
def driver(tmp_path_factory):
    return stub.driver(tmp_path_factory.mktemp("driver"))


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    torch.manual_seed(0)
    model, x = Two(), torch.randn(2, 3, 9, 9)
    zoo.randomize(model, x)
    return stub.build(tmp_path_factory.mktemp("two"), model, (x,), as_folder=True)


SCENARIOS = ("host", "device", "many_places", "arrays", "dlpack", "sessions")
SCENARIOS += ("captured", "contexts", "steps", "copies", "nan")


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_network_on_the_stub(scenario, driver, two):
    stub.play(driver, two, scenario)


def test_every_call_of_the_driver_fails_once(driver, two):
    assert int(stub.play(driver, two, "injected")) > 80


def test_other_gpus_and_drivers(driver, two, tmp_path):
    stub.play(driver, two, "devices")
    old = stub.driver(tmp_path / "old", "-DcuLaunchKernelEx=cuLaunchKernelOther")
    stub.play(old, two, "says that of CUDA 13.0, which has no cuLaunchKernelEx")
    none = stub.driver(tmp_path / "none", "-DDEVICES=0")
    stub.play(none, two, "says there is no NVIDIA GPU here")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "libcuda.so.1").write_text("")
    stub.play(tmp_path / "broken", two, "says there is no NVIDIA driver here: libcuda.so.1")


def test_more_shared_memory_than_every_gpu_gives_is_asked_for(driver, tmp_path):
    torch.manual_seed(0)
    model, x = edge.binary_net(16), torch.randn(1, 3, 5, 5)
    zoo.randomize(model, x)
    stub.play(driver, stub.build(tmp_path, model, (x,), shared=65536), "run_only")


def zoo_networks():
    """One in the suite, all with BNN_CUDA_FULL=1."""
    few = pytest.mark.skipif(not os.environ.get("BNN_CUDA_FULL"), reason="set BNN_CUDA_FULL=1")
    return [n if n == "birealnet18" else pytest.param(n, marks=few) for n in sorted(zoo.NETWORKS)]


@pytest.mark.parametrize("name", zoo_networks())
def test_networks_of_the_zoo(name, driver, tmp_path):
    torch.manual_seed(0)
    model, x = make(name, 32, 0.25)
    stub.play(driver, stub.build(tmp_path, model, (x,), real=True), "run_only")


@pytest.fixture(scope="module")
def labels(tmp_path_factory):
    """Two inputs and three outputs of whole numbers, truth values and floats."""
    torch.manual_seed(0)
    return stub.build(tmp_path_factory.mktemp("labels"), Tokens(), tokens(), real=True)


@pytest.mark.parametrize("scenario", ["run_only", "device", "dlpack", "sessions"])
def test_integers(scenario, driver, labels):
    stub.play(driver, labels, scenario)


def test_a_program_of_primitives(driver, tmp_path):
    """Its kernels give the CPU's bits, and read the caller's memory as it comes."""
    torch.manual_seed(0)
    x = torch.randn(2, 3, 11)
    model = Applied(lambda x: (torch.softmax(x.flip(2), -1), x.mean(1).exp()))
    stub.play(driver, stub.build(tmp_path, model, (x,), real=True), "run_only")


def test_bytes(driver, tmp_path):
    torch.manual_seed(0)
    model, x = edge.binary_net(24), torch.randn(1, 3, 8, 8)
    zoo.randomize(model, x)
    given = [np.random.default_rng(0).integers(0, 256, x.shape, np.uint8)]
    stub.play(driver, stub.build(tmp_path, model, (x,), given, input_dtype="uint8"), "run_only")


def test_the_example_in_c(driver, two, tmp_path):
    """The header, NAME.a and example.c, built by the command that it names."""
    folder = two.artifact
    command = edge.build_command(folder).split()
    command[0] = link.compiler()[0]
    program = tmp_path / "example"
    command[command.index("example")] = str(program)
    link.run([*command, "-Wall", "-Wextra", "-Werror"], folder)
    saved = np.load(two.folder / "known.npz")
    saved["in0"].tofile(tmp_path / "x")
    environment = {
        "LD_LIBRARY_PATH": str(driver),
        "STUB_KERNELS": str(two.folder / "kernels.so"),
        "STUB_LAUNCHES": str(two.folder / "launches.txt"),
    }
    done = subprocess.run(
        [str(program), "x", "y", "z"], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "class" in done.stdout
    for name, out in (("y", "out0"), ("z", "out1")):
        assert (tmp_path / name).read_bytes() == saved[out].tobytes()
    environment["LD_LIBRARY_PATH"] = str(tmp_path)
    Path(tmp_path / "libcuda.so.1").write_text("")
    done = subprocess.run(
        [str(program), "x"], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "there is no NVIDIA driver here: libcuda.so.1 was not found\n"
