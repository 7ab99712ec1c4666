"""On a real GPU: ``pytest -m gpu``. Skipped where there is none.

Networks are compiled for it here, which needs nvcc; or BNN_GPU_CASES names a folder of
``python -m benchmarks.cuda --compile``, and neither nvcc nor TVM is needed.
"""

import ctypes
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import cuda_parts
from benchmarks.cuda_device import Gpu, images
from benchmarks.cuda_parts import SANITIZED, TOOLS, Folder
from bnn_compiler import zoo

pytestmark = pytest.mark.gpu

#: Seconds that compute-sanitizer may take.
LIMIT = 60


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    """Small networks compiled for this GPU, with what the CPU gives for them."""
    try:
        gpu = Gpu()
    except (OSError, RuntimeError) as e:
        pytest.skip(f"no GPU: {e}")
    if "BNN_GPU_CASES" in os.environ:
        return Folder(Path(os.environ["BNN_GPU_CASES"]))
    from benchmarks import cuda_networks

    major, minor = ctypes.c_int(), ctypes.c_int()
    gpu.call("cuDeviceGetAttribute", ctypes.byref(major), 75, 0)
    gpu.call("cuDeviceGetAttribute", ctypes.byref(minor), 76, 0)
    folder = tmp_path_factory.mktemp("cases")
    small = [c for c in cuda_networks.cases() if c.part in ("exact", "halves")]
    target = f"cuda-sm{10 * major.value + minor.value}"
    cuda_networks.compile_cases(folder, target, small)
    return Folder(folder)


@pytest.fixture
def compiled(cases):
    """Whether a case is there; it fails with the compiler's error."""

    def check(name):
        assert "error" not in cases.cases[name], cases.cases[name]["error"]
        return name

    return check


@pytest.mark.parametrize("name", sorted(zoo.NETWORKS))
def test_a_network_gives_the_bits_of_the_cpu(name, cases, compiled):
    found = cuda_parts.exact(cases, compiled(f"{name}_small"))
    assert found["exact"], found


def test_half_precision_stays_within_rounding(cases, compiled):
    found = cuda_parts.exact(cases, compiled("halves"))
    assert found["exact"] and found["norm_of_difference"] > 0, found


def test_sessions_beside_each_other(cases, compiled):
    found = cuda_parts.sessions(cases, compiled("birealnet18_small"))
    assert found["exact"], found


@pytest.mark.parametrize("tool", TOOLS)
@pytest.mark.parametrize("name", SANITIZED)
def test_memory_and_races(name, tool, cases, compiled):
    found = cuda_parts.sanitized(cases, f"{compiled(name)} {tool}", LIMIT)
    if "no compute-sanitizer" in found.get("error", ""):
        pytest.skip(found["error"])
    assert found["clean"], found


def test_arrays_of_pytorch_where_they_are(cases, compiled):
    if not torch.cuda.is_available():
        pytest.skip("this PyTorch has no GPU")
    name = compiled("birealnet18_small")
    with cases.load(name) as net:
        x = torch.from_numpy(images(name, net.description.inputs[0].shape)).cuda()
        with torch.cuda.stream(torch.cuda.Stream()):
            found = [net.run(x) for _ in range(3)]
            torch.cuda.current_stream().synchronize()
        assert all(y.is_cuda for y in found)
        for y in found:
            np.testing.assert_array_equal(y.cpu().numpy(), cases.wanted(name))
