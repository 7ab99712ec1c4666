"""Time the kernel of a library that harness.py built. Needs numpy only."""

import ctypes
import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bnn_compiler.runtime.session import aligned

_REPEATS = 8
_SECONDS = 2e-3


@dataclass(frozen=True)
class Measurement:
    """The task, seconds of one call in several bursts, and a digest of what it computed."""

    task: str
    seconds: tuple[float, ...]
    outputs: str


def measure(shared: Path) -> Measurement:
    """Run the kernel on the same random inputs whatever its schedule."""
    with np.load(shared.with_suffix(".npz")) as saved:
        specification = [str(p) for p in saved["params"]]
        task = str(saved["task"])
        extent, outputs = int(saved["extent"]), int(saved["outputs"])
        constants = [saved[k] for k in saved.files if k.startswith("constant")]
    library = ctypes.CDLL(str(shared))
    library.bnn_measure.restype = ctypes.c_double
    library.bnn_measure.argtypes = [ctypes.c_void_p, ctypes.c_int32, ctypes.c_int32]
    arrays = _arrays(specification, constants, outputs)
    pointers = (ctypes.c_void_p * len(arrays))(*(a.ctypes.data for a in arrays))
    # The second call is warm: it says how many make a burst.
    once = min(library.bnn_measure(pointers, extent, 1) for _ in range(2))
    loops = max(1, min(100_000, int(_SECONDS / max(once, 1e-9))))
    seconds = tuple(library.bnn_measure(pointers, extent, loops) / loops for _ in range(_REPEATS))
    digest = hashlib.sha256(b"".join(a.tobytes() for a in arrays[-outputs:])).hexdigest()
    return Measurement(task, seconds, digest)


def _arrays(
    specification: list[str], constants: list[np.ndarray], outputs: int
) -> list[np.ndarray]:
    """One aligned array for each parameter: input, constants, operands, outputs."""
    rng = np.random.default_rng(1)
    arrays = []
    for i, text in enumerate(specification):
        dtype, _, shape = text.partition(":")
        extents = [int(e) for e in shape.split("x")]
        size = int(np.prod(extents)) * np.dtype(dtype).itemsize
        array = aligned(size).view(dtype)
        if 1 <= i <= len(constants):
            array[:] = constants[i - 1].reshape(-1)
        elif i < len(specification) - outputs:
            array[:] = _random(rng, np.dtype(dtype), array.size)
            if dtype == "int16":
                array &= 255
        arrays.append(array)
    return arrays


def _random(rng: np.random.Generator, dtype: np.dtype, size: int) -> np.ndarray:
    if dtype.kind == "f":
        return rng.normal(size=size).astype(dtype)
    return rng.integers(0, np.iinfo(dtype).max, size, dtype=dtype, endpoint=True)
