"""AMX tiles without a CPU that has them: kernels call tiles.c instead of instructions."""

import ctypes
import subprocess
from dataclasses import replace
from functools import cache
from pathlib import Path

from bnn_compiler import target as targets
from bnn_compiler.deploy.cpu import link
from bnn_compiler.kernels.cpu.tiles import tile_rows
from bnn_compiler.target import Target
from tests.kernels import kernel

SOURCE = Path(__file__).with_suffix(".c")


def emulated() -> Target:
    """A CPU with AVX2 and tiles, of which LLVM knows nothing."""
    device = targets.load("x86-64-v3")
    return replace(device, hardware=replace(device.cpu, tiles=True))


@cache
def library(folder: Path) -> ctypes.CDLL:
    """What the tiles mean, for every library that is loaded from now on."""
    path = folder / "tiles.so"
    subprocess.run(
        [*link.compiler(), "-O2", "-shared", "-fPIC", "-o", str(path), str(SOURCE)], check=True
    )
    return ctypes.CDLL(str(path), mode=ctypes.RTLD_GLOBAL)


def run(state, one, point, folder, given, device=None):
    """A kernel's results with its tiles configured, and released behind it."""
    from bnn_compiler import families

    state.bnn_tiles_configure(tile_rows(families.function(one, point)))
    found = kernel.run(one, point, device or emulated(), folder, *given)
    state.bnn_tiles_release()
    return found
