"""NVIDIA's compiler: CUDA source becomes PTX and machine code."""

import os
import re
import shutil
import subprocess
import tempfile
from importlib.util import find_spec
from pathlib import Path

from bnn_compiler.errors import BuildError

#: No contraction: every fma is written as one.
_OPTIONS = ("-std=c++17", "-O3", "-fmad=false")
#: What ptxas says of a kernel that keeps registers in memory.
_SPILLS = re.compile(r"Function properties for (\w+)\s+\d+ bytes stack frame, (\d+) bytes spill")


def tools() -> tuple[Path, Path]:
    """nvcc and ptxas: of PATH or CUDA_HOME, else those that pip installs.

    Raises BuildError if there are none.
    """
    for nvcc in _candidates():
        ptxas = _beside(nvcc)
        if ptxas is not None:
            return nvcc, ptxas
    raise BuildError(
        "compiling for a GPU needs NVIDIA's nvcc, which is not in PATH, CUDA_HOME or this Python:"
        " pip install bnn_compiler[cuda], or install the CUDA toolkit (12.8 or later)"
    )


def _candidates() -> list[Path]:
    found = [shutil.which("nvcc")]
    for name in ("CUDA_HOME", "CUDA_PATH"):
        if os.environ.get(name):
            found.append(str(Path(os.environ[name]) / "bin" / "nvcc"))
    # pip's wheels unpack to nvidia/cu13/bin, or nvidia/cuda_nvcc/bin before CUDA 13.
    spec = find_spec("nvidia")
    for root in (spec.submodule_search_locations or []) if spec else []:
        found += sorted(str(p) for p in Path(root).glob("*/bin/nvcc"))
    return [Path(f) for f in found if f and Path(f).is_file()]


def _beside(nvcc: Path) -> Path | None:
    """The ptxas that belongs to it."""
    near = nvcc.resolve().with_name("ptxas")
    found = near if near.is_file() else shutil.which("ptxas")
    return Path(found) if found else None


def to_ptx(source: str, sm: int) -> str:
    """PTX for compute capability ``sm`` / 10. Raises BuildError."""
    nvcc, _ = tools()
    with tempfile.TemporaryDirectory(prefix="bnnc-") as folder:
        path = Path(folder) / "kernels.cu"
        path.write_text(source)
        out = path.with_suffix(".ptx")
        _run([str(nvcc), *_OPTIONS, f"-arch=compute_{sm}", "-ptx", str(path), "-o", str(out)])
        return out.read_text()


def to_cubin(ptx: str, sm: int) -> tuple[bytes, str]:
    """Machine code, and what ptxas says of each kernel's registers. Raises BuildError."""
    _, ptxas = tools()
    with tempfile.TemporaryDirectory(prefix="bnnc-") as folder:
        path = Path(folder) / "kernels.ptx"
        path.write_text(ptx)
        out = path.with_suffix(".cubin")
        said = _run([str(ptxas), "-O3", "-v", f"-arch=sm_{sm}", str(path), "-o", str(out)])
        return out.read_bytes(), said


def with_registers(ptx: str, said: str) -> tuple[str, list[str]]:
    """PTX whose kernels ptxas ``said`` it spilled may have all registers; those kernels.

    It does so to have room for more blocks than anybody asked for.
    """
    spilled = [name for name, size in _SPILLS.findall(said) if size != "0"]
    for name in spilled:
        entry = rf"(\.entry {name}\([^)]*\)\s*\.maxntid [^\n]*\n)"
        ptx = re.sub(entry, r"\1.minnctapersm 1\n", ptx)
    return ptx, spilled


def _run(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True)
    said = done.stderr + done.stdout
    if done.returncode:
        lines = said.strip().splitlines() or [f"exit status {done.returncode}"]
        wrong = next((line for line in lines if "error" in line or "fatal" in line), lines[-1])
        raise BuildError(f"{Path(command[0]).name}: {wrong.strip()}")
    return said
