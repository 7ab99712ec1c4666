"""AMX tiles for tests: the CPU's, or calls of tiles.c where it has none."""

import ctypes
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from bnn_compiler import families
from bnn_compiler import target as targets
from bnn_compiler.deploy.cpu import link
from bnn_compiler.kernels.cpu.tiles import tile_rows
from bnn_compiler.runtime import cpu
from bnn_compiler.target import Target
from tests.kernels import kernel

AMX = targets.load("x86-amx")
HERE = Path(__file__).parent
#: What tile instructions mean.
MEANING = HERE / "tiles.c"


def without_amx() -> Target:
    """A CPU with AVX2 and tiles, of which LLVM knows nothing: kernels call functions."""
    device = targets.load("x86-64-v3")
    return replace(device, hardware=replace(device.cpu, tiles=True))


@dataclass(frozen=True)
class Tiles:
    """Those of each thread, and kernels for ``device`` that use them."""

    device: Target
    configure: Callable[[int], None]
    release: Callable[[], None]
    in_use: Callable[[], int]
    library: ctypes.CDLL

    def check(self, one, point, folder):
        """The kernel of a task computes the reference's bits."""
        given = kernel.inputs(one)
        self.configure(tile_rows(families.function(one, point)))
        found = kernel.run(one, point, self.device, folder, *given)
        self.release()
        for ours, right in zip(found, kernel.expected(one, *given), strict=True):
            np.testing.assert_array_equal(ours, right, err_msg=str(point))


def emulated(folder: Path) -> Tiles:
    """Known to every library that is loaded from now on."""
    path = folder / "tiles.so"
    _compile(path, [str(MEANING)])
    found = ctypes.CDLL(str(path), mode=ctypes.RTLD_GLOBAL)
    configure, release = found.bnn_tiles_configure, found.bnn_tiles_release
    return Tiles(without_amx(), configure, release, found.tiles_in_use, found)


def real(folder: Path) -> Tiles:
    """Those of this CPU; skips the test if it has none."""
    if not set(AMX.features) <= cpu.features():
        pytest.skip("this CPU has no AMX, or its system does not offer it")
    path = folder / "real.so"
    _compile(path, ["-std=gnu11", "-include", str(link.TILES), str(HERE / "real_tiles.c")])
    found = ctypes.CDLL(str(path))
    assert found.real_permit() == 0
    return Tiles(AMX, found.real_configure, found.real_release, found.real_in_use, found)


def _compile(path: Path, arguments: list[str]) -> None:
    command = [*link.compiler(), "-O2", "-shared", "-fPIC", "-o", str(path), *arguments]
    subprocess.run(command, check=True)
