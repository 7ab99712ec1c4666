"""The peaks of one core of this CPU: popcount, float32 FMA and memory bandwidth.

`python -m benchmarks.roofline` compiles roofline.c for this machine (x86-64 only), runs it on one
core and prints the peaks, and how long each network of the comparison takes at least. The C
compiler is $CC, else cc, gcc or clang, else the one of the ziglang package.
"""

import argparse
import importlib.util
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks import machine
from bnn_compiler.errors import BuildError

_SOURCE = Path(__file__).with_name("roofline.c")


@dataclass(frozen=True)
class Work:
    """Multiply-accumulates of one inference: in binary layers and in float32 layers.

    Taps in zero padding do not count (8 % of Bi-Real-18's): a kernel may skip them.
    """

    binary: int
    floating: int


# Convolutions and dense layers only, 224x224, batch 1.
NETWORKS = {
    "birealnet18": Work(binary=1_544_396_800, floating=135_994_112),
    "reactnet_a": Work(binary=4_463_681_536, floating=11_797_600),
}


def measure() -> dict[str, float]:
    """Compile and run roofline.c on the core this process is pinned to.

    Returns the peaks by name: `popcount_*` and `fma_*` in GMAC/s, `read_*` and `copy_*` in GB/s.
    Raises BuildError when there is no C compiler, when it fails, or on another architecture.
    """
    if platform.machine() not in ("x86_64", "AMD64"):
        raise BuildError(f"roofline.c is written for x86-64, this is {platform.machine()}")
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / "roofline"
        _execute([*_compiler(), "-O3", "-march=native", str(_SOURCE), "-o", str(program)])
        return parse(_execute([str(program)]))


def parse(output: str) -> dict[str, float]:
    """The peaks from what the program of roofline.c prints: a name and a number on each line."""
    pairs = (line.split() for line in output.splitlines())
    return {name: float(value) for name, value in pairs}


def shortest(peaks: Mapping[str, float], work: Work) -> float:
    """Seconds that the arithmetic of `work` takes when every instruction issues at its peak."""
    popcount = max(value for name, value in peaks.items() if name.startswith("popcount_"))
    fma = max(value for name, value in peaks.items() if name.startswith("fma_"))
    return 1e-9 * (work.binary / popcount + work.floating / fma)


def _compiler() -> list[str]:
    named = os.environ.get("CC", "").split()
    if named:
        return named
    for name in ("cc", "gcc", "clang"):
        if path := shutil.which(name):
            return [path]
    if importlib.util.find_spec("ziglang"):
        return [sys.executable, "-m", "ziglang", "cc"]
    raise BuildError("no C compiler: set CC, install gcc or clang, or `pip install ziglang`")


def _execute(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        said = getattr(error, "stderr", "") or ""
        raise BuildError(f"{' '.join(command)}: {error}\n{said}".rstrip()) from error
    return done.stdout


def main() -> None:
    parser = argparse.ArgumentParser(description="Peaks of one core of this CPU.")
    parser.add_argument("--core", type=int, help="core to run on (default: the last one)")
    core = machine.pin(parser.parse_args().core)
    print(f"{machine.describe().cpu}, core {core}")
    with machine.LoadMeter() as meter:
        peaks = measure()
    for name, value in peaks.items():
        print(f"{name:<13} {value:8.1f} {'GMAC/s' if name[0] in 'pf' else 'GB/s'}")
    for name, work in NETWORKS.items():
        print(f"{name}: at least {1e3 * shortest(peaks, work):.2f} ms")
    print(meter.load)


if __name__ == "__main__":
    main()
