"""A network of every family compiles for every architecture; what is in the machine code."""

import math
import os
import re
import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from torch import nn

from bnn_compiler import target as targets
from bnn_compiler import zoo
from bnn_compiler.cost.pick import Schedules
from bnn_compiler.errors import BuildError
from bnn_compiler.kernels.cuda import codegen, early, nvcc
from bnn_compiler.nn import BinaryConv2d, Sign
from bnn_compiler.plan import plan, realize
from tests.kernels.test_shortcuts import Joined, settled
from tests.network import fused
from tests.zoo.test_networks import make

#: What ptxas says of a kernel's stack.
_STACK = re.compile(r"function '(\w+)'.*\n.*\n\s*(\d+) bytes stack frame, (\d+) bytes spill stores")
#: The instruction of each form of a binary product.
_PRODUCTS = {"and": r"BMMA\..*AND", "xor": r"BMMA\..*XOR", "int8": r"IMMA\..*S8"}


def found(tool):
    """The path of a tool of CUDA: of PATH, else pip's; None if there is none."""
    spec = find_spec("nvidia")
    roots = (spec.submodule_search_locations or []) if spec else []
    near = [str(p) for root in roots for p in sorted(Path(root).glob(f"*/bin/{tool}"))]
    return next(filter(None, (shutil.which(tool), *near)), None)


def has_nvcc():
    try:
        nvcc.tools()
    except BuildError:
        return False
    return True


@pytest.fixture(scope="module")
def graph():
    """Float and binary convolutions, small and large, shortcuts, a reduction, and functions."""
    torch.manual_seed(0)
    small = nn.Conv2d(3, 8, 3, padding=1), Sign(), BinaryConv2d(8, 8, 3, padding=1, groups=8)
    large = Joined(None, (20, 40), tail=lambda x: torch.softmax(x.flatten(2), -1))
    model = nn.Sequential(*small, nn.Conv2d(8, 3, 1), large)
    return fused(settled(model), torch.randn(1, 3, 7, 6))


def instructions(image, path):
    """What each kernel of a cubin executes, by its symbol; None if nothing here can tell."""
    nvdisasm = found("nvdisasm")
    if nvdisasm is None:
        return None
    path.write_bytes(image)
    text = subprocess.run(
        [nvdisasm, "-c", str(path)], capture_output=True, text=True, check=True
    ).stdout
    parts = re.split(r"^\.text\.(\w+):$", text, flags=re.MULTILINE)[1:]
    # /*0010*/  @!P0 POPC R1, R2 ;
    operation = re.compile(r"/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P\w+\s+)?([A-Z][\w.]*)")
    return dict(zip(parts[::2], map(operation.findall, parts[1::2]), strict=True))


def check(graph, name, tmp_path):
    """Compile a graph for a target and look at every kernel; the families of its kernels."""
    gpu = Schedules.load(targets.load(name), None)
    program, functions = realize.realize(plan.plan(graph), gpu, "net")
    code = codegen.build(functions, gpu.target)
    (arch,) = code.images
    assert arch == f"sm_{gpu.target.gpu.sm}" and f".target {arch}" in code.ptx
    _, said = nvcc.to_cubin(code.ptx, gpu.target.gpu.sm)
    launches = {launch.symbol: launch for launch in code.launches.values()}
    stacks = {symbol: int(size) for symbol, size, _ in _STACK.findall(said) if int(size)}
    assert len(_STACK.findall(said)) == said.count("bytes stack frame") == len(launches)
    assert not stacks
    registers = dict(re.findall(r"function '(\w+)'(?:.|\n)*?Used (\d+) registers", said))
    assert set(registers) == set(launches)
    for symbol, launch in launches.items():
        assert int(registers[symbol]) * math.prod(launch.block) <= 65536, symbol
        assert launch.shared <= 1024 * (gpu.target.gpu.shared_kib - 1), symbol
    constants = {code.launches[s].symbol: early.constants(f) for s, f in functions.items()}
    points = {code.launches[s.kernel].symbol: s.schedule["point"] for s in program.steps}
    done = instructions(code.images[arch], tmp_path / "kernels.cubin")
    if done is not None:
        assert set(done) == set(launches)
        for symbol, operations in done.items():
            look(symbol, operations, points[symbol])
            local = [o for o in operations if re.match(r"(LDL|STL)\b", o)]
            assert not local, symbol
            if gpu.target.gpu.sm >= 90:
                waits(symbol, operations, bool(constants[symbol]))
    return {p.get("family") for p in points.values()}


def look(symbol, operations, point):
    """What computes is what the manifest says."""
    assert "EXIT" in operations, symbol
    family = point.get("family")
    # A packed output is a vote: it counts nothing.
    assert ("POPC" in operations or "UPOPC" in operations) == (family == "popc"), symbol
    products = {o for o in operations if re.match("[BIH]MMA", o)}
    if family != "mma":
        assert not products, symbol
        return
    wanted = _PRODUCTS[point["form"]]
    assert products and all(re.match(wanted, o) for o in products), (symbol, products)
    assert ("LDGSTS" in {o.split(".")[0] for o in operations}) == (point["stages"] > 0), symbol


def waits(symbol, operations, has_constants):
    """Nothing but constants is read before what the kernel ahead writes is there; those begin to
    come before that.
    """
    reads = [i for i, o in enumerate(operations) if re.match(r"(LDG|LDGSTS|LD)\b", o)]
    changing = [i for i in reads if "CONSTANT" not in operations[i]]
    assert changing and operations.index("ACQBULK") < changing[0], symbol
    assert has_constants or changing == reads, symbol
    fetched = [i for i, o in enumerate(operations) if o.startswith("CCTL") and o.endswith("PF2")]
    assert bool(fetched) == has_constants, symbol
    assert all(i < operations.index("ACQBULK") for i in fetched), symbol


@pytest.mark.skipif(not has_nvcc(), reason="needs nvcc: pip install nvidia-cuda-nvcc")
@pytest.mark.parametrize("name", targets.names("cuda"))
def test_no_kernel_leaves_its_registers(name, graph, tmp_path):
    assert {"popc", "scalar", "tiled", "mma"} <= check(graph, name, tmp_path)


@pytest.mark.skipif(not has_nvcc(), reason="needs nvcc: pip install nvidia-cuda-nvcc")
@pytest.mark.skipif(not os.environ.get("BNN_CUDA_FULL"), reason="set BNN_CUDA_FULL=1")
@pytest.mark.parametrize("network", sorted(zoo.NETWORKS))
def test_the_zoo_on_every_architecture(network, tmp_path):
    model, x = make(network, 64, 0.25, batch=2)
    graph = fused(model, x)
    for name in targets.names("cuda"):
        assert "mma" in check(graph, name, tmp_path)
