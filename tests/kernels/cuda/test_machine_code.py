"""A network of every family compiles for every architecture; what is in the machine code."""

import re
import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from bnn_compiler import target as targets
from bnn_compiler.cost.pick import Schedules
from bnn_compiler.errors import BuildError
from bnn_compiler.kernels.cuda import codegen, nvcc
from bnn_compiler.plan import plan, realize
from tests.kernels.test_shortcuts import Joined, settled
from tests.network import fused

#: What ptxas says of a kernel that keeps everything in registers.
_IN_REGISTERS = "0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads"


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
    """Float and binary convolutions, shortcuts, a program with a reduction, and functions."""
    torch.manual_seed(0)
    model = Joined(None, (20, 40), tail=lambda x: torch.softmax(x.flatten(2), -1))
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


@pytest.mark.skipif(not has_nvcc(), reason="needs nvcc: pip install nvidia-cuda-nvcc")
@pytest.mark.parametrize("name", targets.names("cuda"))
def test_no_kernel_leaves_its_registers(name, graph, tmp_path):
    gpu = Schedules.load(targets.load(name), None)
    program, functions = realize.realize(plan.plan(graph), gpu, "net")
    code = codegen.build(functions, gpu.target)
    (arch,) = code.images
    assert arch == f"sm_{gpu.target.gpu.sm}" and f".target {arch}" in code.ptx
    _, said = nvcc.to_cubin(code.ptx, gpu.target.gpu.sm)
    kernels = {launch.symbol for launch in code.launches.values()}
    assert said.count(_IN_REGISTERS) == said.count("bytes stack frame") == len(kernels)
    registers = [int(n) for n in re.findall(r"Used (\d+) registers", said)]
    assert len(registers) == len(kernels) and max(registers) * 256 <= 65536
    done = instructions(code.images[arch], tmp_path / "kernels.cubin")
    if done is None:
        return
    assert set(done) == kernels
    families = {code.launches[s.kernel].symbol: s.schedule["point"] for s in program.steps}
    assert {"popc", "scalar"} <= {p.get("family") for p in families.values()}
    for symbol, operations in done.items():
        assert "EXIT" in operations, symbol
        assert not [o for o in operations if re.match(r"(LDL|STL)\b", o)], symbol
        popc = families[symbol].get("family") == "popc"
        # A packed output is a vote: it counts nothing.
        assert ("POPC" in operations or "UPOPC" in operations) == popc, symbol
