"""A GPU by ctypes: arrays, streams and times, for a machine without PyTorch."""

import ctypes
import shutil
import statistics
import subprocess
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


class Gpu:
    """The first GPU's primary context, current in this thread. Raises OSError or RuntimeError."""

    def __init__(self) -> None:
        self.cu = ctypes.CDLL("libcuda.so.1")
        self.call("cuInit", 0)
        context = ctypes.c_void_p()
        self.call("cuDevicePrimaryCtxRetain", ctypes.byref(context), 0)
        self.call("cuCtxSetCurrent", context)

    def call(self, name: str, *arguments: Any) -> None:
        """A function of the driver. Raises RuntimeError for a failure."""
        code = getattr(self.cu, name)(*arguments)
        if code:
            raise RuntimeError(f"{name} returned {code}")

    def stream(self) -> int:
        """A stream that waits for no other."""
        made = ctypes.c_void_p()
        self.call("cuStreamCreate", ctypes.byref(made), 1)
        return int(made.value or 0)

    def wait(self) -> None:
        """Until everything has ended."""
        self.call("cuCtxSynchronize")

    def milliseconds(self, stream: int, run: Callable[[], object], count: int) -> list[float]:
        """Times of ``count`` runs that are put into ``stream``, by events around each."""
        events = [ctypes.c_void_p() for _ in range(2 * count)]
        for event in events:
            self.call("cuEventCreate", ctypes.byref(event), 0)
        for _ in range(3):
            run()
        for i in range(count):
            self.call("cuEventRecord", events[2 * i], ctypes.c_void_p(stream))
            run()
            self.call("cuEventRecord", events[2 * i + 1], ctypes.c_void_p(stream))
        self.wait()
        found = []
        for i in range(count):
            value = ctypes.c_float()
            self.call("cuEventElapsedTime", ctypes.byref(value), *events[2 * i : 2 * i + 2])
            found.append(float(value.value))
        for event in events:
            self.call("cuEventDestroy_v2", event)
        return found


class Array:
    """An array on the GPU."""

    def __init__(self, gpu: Gpu, value: NDArray[Any]) -> None:
        self.gpu, self.shape, self.dtype = gpu, value.shape, value.dtype
        value = np.ascontiguousarray(value)
        at = ctypes.c_uint64()
        gpu.call("cuMemAlloc_v2", ctypes.byref(at), ctypes.c_size_t(value.nbytes))
        self.at, self.nbytes = at.value, value.nbytes
        source = ctypes.c_void_p(value.ctypes.data)
        gpu.call("cuMemcpyHtoD_v2", at, source, ctypes.c_size_t(value.nbytes))
        # It may still be under way in the default stream, for which others do not wait.
        gpu.call("cuStreamSynchronize", None)

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        return {
            "shape": self.shape,
            "typestr": self.dtype.str,
            "data": (self.at, False),
            "version": 3,
        }

    def numpy(self) -> NDArray[Any]:
        """A copy here, once everything has ended."""
        self.gpu.wait()
        found = np.empty(self.shape, self.dtype)
        target, size = ctypes.c_void_p(found.ctypes.data), ctypes.c_size_t(self.nbytes)
        self.gpu.call("cuMemcpyDtoH_v2", target, ctypes.c_uint64(self.at), size)
        return found

    def free(self) -> None:
        """Give it back."""
        self.gpu.call("cuMemFree_v2", ctypes.c_uint64(self.at))


def described(values: Sequence[float]) -> dict[str, float]:
    """Median and least of times."""
    return {"median_ms": statistics.median(values), "min_ms": min(values)}


def images(name: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """The input of a case: the same wherever it is asked for."""
    seed = int.from_bytes(name.encode(), "little") % (1 << 32)
    return np.random.default_rng(seed).standard_normal(shape, np.float32)


def clocks() -> dict[str, str]:
    """What nvidia-smi says of the GPU, its driver and its clocks; empty without it."""
    keys = "name driver_version clocks.sm clocks.max.sm clocks.mem temperature.gpu power.draw"
    program = shutil.which("nvidia-smi")
    if program is None:
        return {}
    command = [program, f"--query-gpu={','.join(keys.split())}", "--format=csv,noheader", "-i", "0"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=20)
    values = done.stdout.strip().split(", ")
    return dict(zip(keys.split(), values, strict=False))
