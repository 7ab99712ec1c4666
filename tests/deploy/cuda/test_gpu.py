"""On a real GPU: ``pytest -m gpu``. Skipped where there is none."""

import ctypes

import numpy as np
import pytest
import torch

import bnn_compiler
from benchmarks.cuda_device import Array, Gpu
from bnn_compiler import zoo

pytestmark = pytest.mark.gpu


@pytest.fixture(scope="module")
def gpu():
    try:
        found = Gpu()
    except (OSError, RuntimeError) as e:
        pytest.skip(f"no GPU: {e}")
    return found


@pytest.mark.parametrize("name", sorted(zoo.NETWORKS))
def test_a_network_gives_the_bits_of_the_cpu(name, gpu, tmp_path):
    major, minor = ctypes.c_int(), ctypes.c_int()
    gpu.call("cuDeviceGetAttribute", ctypes.byref(major), 75, 0)
    gpu.call("cuDeviceGetAttribute", ctypes.byref(minor), 76, 0)
    factory = zoo.get(name)
    model = factory(width=0.25, size=64) if name == "bop_net" else factory(width=0.25)
    x = torch.randn(2, 3, 64, 64)
    zoo.randomize(model, x, signed=name in ("xnornet", "bop_net"))
    target = f"cuda-sm{10 * major.value + minor.value}"
    there = bnn_compiler.compile(model, (x,), target=target, output=tmp_path / "gpu.bnn")
    here = bnn_compiler.compile(model, (x,), output=tmp_path / "cpu.bnn", check=False)
    wanted = here.run(x.numpy())
    for _ in range(3):
        np.testing.assert_array_equal(there.run(x.numpy()), wanted)
    array = Array(gpu, x.numpy())
    for _ in range(3):
        np.testing.assert_array_equal(there.run(array).numpy(), wanted)
    there.close()
    array.free()
