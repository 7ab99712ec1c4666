"""Build roofline.c for this CPU, run it, read the peaks of one core."""

import hashlib
import os
import subprocess
from collections.abc import Collection
from pathlib import Path

from bnn_compiler.errors import BuildError
from bnn_compiler.runtime import cpu
from bnn_compiler.runtime.bounds import Peaks

SOURCE = Path(__file__).with_name("roofline.c")
#: Bytes of L1, L2 and L3 where the system does not tell.
_USUAL = {1: 32 << 10, 2: 1 << 20, 3: 16 << 20}
_FAR = "DRAM"


def rates() -> dict[str, float]:
    """The peaks by name, measured in about a second on the core this process runs on.

    ``popcount_*``, ``fma_*`` and ``int8_*`` in GMAC/s, named after the CPU flag they need;
    ``read_*`` and ``copy_*`` in GB/s for each memory level. The program is built once and kept in
    the user's cache folder. Raises BuildError when there is no C compiler, when it fails, or on
    another architecture than x86-64.
    """
    if cpu.machine() not in ("x86_64", "AMD64"):
        raise BuildError(f"peaks are measured on x86-64 only; this is {cpu.machine()}")
    command = [str(_program()), *(f"{name}={size}" for name, size in _buffers().items())]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    except (OSError, subprocess.SubprocessError) as e:
        raise BuildError(f"measuring the peaks of this CPU failed: {e}") from e
    return parse(done.stdout)


def parse(output: str) -> dict[str, float]:
    """The peaks from what the program of roofline.c prints: a name and a number on each line."""
    pairs = (line.split() for line in output.splitlines())
    return {name: float(value) for name, value in pairs}


def peaks(features: Collection[str], threads: int = 1) -> tuple[Peaks | None, str]:
    """(peaks of ``threads`` cores for code that uses ``features``, ""), or (None, why not)."""
    try:
        return Peaks.of(rates(), _sizes(), features).times(threads), ""
    except BuildError as e:
        return None, str(e)
    except ValueError:
        return None, "no measured peak is one of the instructions this artifact uses"


def _caches() -> dict[int, int]:
    return cpu.caches() or _USUAL


def _sizes() -> dict[str, int | None]:
    """Bytes of each memory level, nearest first; None for the last."""
    return {**{f"L{level}": size for level, size in _caches().items()}, _FAR: None}


def _buffers() -> dict[str, int]:
    """Bytes to measure each level with.

    Four times the level before, so that little of it lies there, but no more than a quarter of
    the level itself: two are in use when copying.
    """
    buffers: dict[str, int] = {}
    before = 1 << 20
    for level, size in _caches().items():
        buffers[f"L{level}"] = min(4 * before, size // 4)
        before = size
    buffers[_FAR] = min(max(4 * before, 64 << 20), 256 << 20)
    return buffers


def _program() -> Path:
    """The built roofline.c, from the cache if it was built for this CPU before."""
    import platformdirs

    from bnn_compiler.deploy.cpu import link

    key = hashlib.sha256(SOURCE.read_bytes() + " ".join(sorted(cpu.features())).encode())
    folder = Path(platformdirs.user_cache_dir("bnn_compiler"))
    program = folder / f"roofline-{key.hexdigest()[:16]}"
    if program.exists():
        return program
    try:
        folder.mkdir(parents=True, exist_ok=True)
        partial = folder / f"{program.name}.{os.getpid()}.partial"
        try:
            flags = ["-O3", "-march=native", str(SOURCE), "-o", str(partial)]
            link.run([*link.compiler(), *flags], folder)
            partial.replace(program)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as e:
        raise BuildError(f"cannot build in {folder}: {e}; XDG_CACHE_HOME moves it") from e
    return program
