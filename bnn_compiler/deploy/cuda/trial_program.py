#!/usr/bin/env python3
"""Times a kernel on a GPU and prints one line of JSON; needs Python 3.10 and NVIDIA's driver alone.

    PROGRAM CONSTANTS REPEATS MICROSECONDS LIMIT THREADS
    PROGRAM --gpu                                            # the name of the GPU

It is to a GPU what deploy/cpu/runtime/trial.c is to a CPU, and a kit (tune/kit.py) carries it as it
is: it imports nothing of the package. REPEATS graphs of launches in a row are timed, each of about
MICROSECONDS; the seconds are those of one launch. A kernel whose code waits itself for the one
before it starts early, as it does in a network. THREADS means nothing here.

CONSTANTS is one line of JSON (deploy/cuda/trial.py), then the machine code, then the constants.
Inputs come from a seed. The digest is SHA-256 of what the outputs' real channels hold: equal for
every schedule of one kernel. Exit code 126 says that no kernel can be timed here.
"""

import ctypes
import hashlib
import json
import random
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

WARM, MOST_LAUNCHES, CANNOT_RUN = 10, 1000, 126
#: Of the driver: attributes of a device, of a function and of a launch, and its errors.
_MAJOR, _MINOR, _SHARED, _EARLY = 75, 76, 8, 6
_NON_BLOCKING, _THREAD_LOCAL = 1, 1
_NO_BINARY, _UNSUPPORTED_PTX = 209, 222


class Attribute(ctypes.Structure):
    """CUlaunchAttribute."""

    _fields_ = [("id", ctypes.c_int), ("pad", ctypes.c_int), ("value", ctypes.c_int * 16)]


class Config(ctypes.Structure):
    """CUlaunchConfig."""

    _fields_ = [
        ("grid", ctypes.c_uint * 3),
        ("block", ctypes.c_uint * 3),
        ("shared", ctypes.c_uint),
        ("stream", ctypes.c_void_p),
        ("attributes", ctypes.POINTER(Attribute)),
        ("count", ctypes.c_uint),
    ]


def stop(code: int, words: str) -> NoReturn:
    """End with one line."""
    print(words)
    sys.exit(code)


class Gpu:
    """The first GPU, its primary context current."""

    def __init__(self) -> None:
        try:
            self._cuda = ctypes.CDLL("libcuda.so.1")
        except OSError:
            stop(CANNOT_RUN, "there is no NVIDIA driver here: libcuda.so.1 was not found")
        if self._cuda.cuInit(0):
            stop(CANNOT_RUN, "there is no NVIDIA GPU here that works")
        context, major, minor = ctypes.c_void_p(), ctypes.c_int(), ctypes.c_int()
        self.call("cuDevicePrimaryCtxRetain", ctypes.byref(context), 0)
        self.call("cuCtxPushCurrent_v2", context)
        self.call("cuDeviceGetAttribute", ctypes.byref(major), _MAJOR, 0)
        self.call("cuDeviceGetAttribute", ctypes.byref(minor), _MINOR, 0)
        self.sm = 10 * major.value + minor.value
        self.stream = self.made("cuStreamCreate", _NON_BLOCKING)

    def call(self, name: str, *arguments: Any) -> None:
        """A function of the driver."""
        code = getattr(self._cuda, name)(*arguments)
        if code:
            stop(1, f"{name} returned {code}")

    def made(self, name: str, *arguments: Any) -> ctypes.c_void_p:
        """What a function of the driver makes."""
        found = ctypes.c_void_p()
        self.call(name, ctypes.byref(found), *arguments)
        return found

    def name(self) -> str:
        """As its maker calls it."""
        text = ctypes.create_string_buffer(128)
        self.call("cuDeviceGetName", text, 128, 0)
        return text.value.decode()

    def module(self, image: bytes) -> ctypes.c_void_p:
        """Machine code, loaded."""
        module = ctypes.c_void_p()
        code = self._cuda.cuModuleLoadDataEx(ctypes.byref(module), image, 0, None, None)
        if code in (_NO_BINARY, _UNSUPPORTED_PTX):
            stop(CANNOT_RUN, f"{self.name()} is of sm_{self.sm}, the kernels are of another GPU")
        if code:
            stop(1, f"cuModuleLoadDataEx returned {code}")
        return module

    def function(self, module: ctypes.c_void_p, symbol: str, shared: int) -> ctypes.c_void_p:
        """A kernel of ``shared`` bytes a block."""
        found = self.made("cuModuleGetFunction", module, symbol.encode())
        if shared > 48 * 1024:
            self.call("cuFuncSetAttribute", found, _SHARED, shared)
        return found

    def memory(self, data: bytes) -> ctypes.c_uint64:
        """A copy of ``data`` there."""
        at = ctypes.c_uint64()
        self.call("cuMemAlloc_v2", ctypes.byref(at), ctypes.c_size_t(len(data)))
        self.put(at, 0, data)
        return at

    def zeros(self, size: int) -> ctypes.c_uint64:
        """So many bytes there."""
        at = ctypes.c_uint64()
        self.call("cuMemAlloc_v2", ctypes.byref(at), ctypes.c_size_t(size))
        self.call("cuMemsetD8Async", at, ctypes.c_ubyte(0), ctypes.c_size_t(size), self.stream)
        # What is copied there next is copied in another stream.
        self.call("cuStreamSynchronize", self.stream)
        return at

    def graph(self, launch: Callable[[], None]) -> ctypes.c_void_p:
        """The launches that ``launch`` makes, as a graph."""
        self.call("cuStreamBeginCapture_v2", self.stream, _THREAD_LOCAL)
        launch()
        graph = ctypes.c_void_p()
        self.call("cuStreamEndCapture", self.stream, ctypes.byref(graph))
        return self.made("cuGraphInstantiateWithFlags", graph, ctypes.c_ulonglong(0))

    def put(self, at: ctypes.c_uint64, offset: int, data: bytes) -> None:
        """Copy ``data`` to ``offset`` bytes behind ``at``."""
        place = ctypes.c_uint64(at.value + offset)
        self.call("cuMemcpyHtoD_v2", place, data, ctypes.c_size_t(len(data)))
        # It may still be under way in the default stream, for which ``stream`` does not wait.
        self.call("cuStreamSynchronize", None)

    def fetched(self, at: ctypes.c_uint64, size: int) -> bytes:
        """What is there."""
        found = ctypes.create_string_buffer(size)
        self.call("cuMemcpyDtoH_v2", found, at, ctypes.c_size_t(size))
        return found.raw

    def seconds(self, work: Callable[[], None]) -> float:
        """What ``work`` in the stream takes."""
        events = [self.made("cuEventCreate", 0) for _ in range(2)]
        self.call("cuEventRecord", events[0], self.stream)
        work()
        self.call("cuEventRecord", events[1], self.stream)
        self.call("cuStreamSynchronize", self.stream)
        found = ctypes.c_float()
        self.call("cuEventElapsedTime", ctypes.byref(found), *events)
        for event in events:
            self.call("cuEventDestroy_v2", event)
        return 1e-3 * float(found.value)


class Kernel:
    """A kernel and its arguments."""

    def __init__(
        self,
        gpu: Gpu,
        function: ctypes.c_void_p,
        described: dict[str, Any],
        places: list[ctypes.c_uint64],
    ) -> None:
        self.gpu, self.function = gpu, function
        self.values = [places[i] for i in described["order"]]
        pointers = [ctypes.addressof(v) for v in self.values]
        self.parameters = (ctypes.c_void_p * len(pointers))(*pointers)
        self.early = Attribute(_EARLY)
        self.early.value[0] = 1
        attributes = ctypes.pointer(self.early)
        shape = (ctypes.c_uint * 3)(*described["grid"]), (ctypes.c_uint * 3)(*described["block"])
        count = int(described["early"] and gpu.sm >= 90)
        self.config = Config(*shape, described["shared"], gpu.stream, attributes, count)

    def launch(self, count: int) -> None:
        """So many times, one behind the other."""
        config = ctypes.byref(self.config)
        for _ in range(count):
            self.gpu.call("cuLaunchKernelEx", config, self.function, self.parameters, None)

    def bursts(self, repeats: int, wanted: float) -> list[float]:
        """Seconds of a launch, ``repeats`` times, in graphs of about ``wanted`` seconds."""
        self.launch(WARM)
        once = self.gpu.seconds(lambda: self.launch(WARM)) / WARM
        count = min(max(1, int(wanted / max(once, 1e-9))), MOST_LAUNCHES)
        graph = self.gpu.graph(lambda: self.launch(count))

        def run() -> None:
            self.gpu.call("cuGraphLaunch", graph, self.gpu.stream)

        run()
        return [self.gpu.seconds(run) / count for _ in range(repeats)]


def repeated(pattern: str, size: int) -> int:
    """Bytes as a number of ``size`` bytes."""
    whole = bytes.fromhex(pattern)
    return int.from_bytes((whole * (size // len(whole) + 1))[:size], "little")


def drawn(size: int, seed: int) -> bytes:
    """Random bytes, in parts of what a generator gives at once."""
    source, part = random.Random(seed), 1 << 26
    return b"".join(source.randbytes(min(part, size - at)) for at in range(0, size, part))


def filled(buffer: dict[str, Any], seed: int) -> bytes:
    """What an argument holds at first: random where it matters, else 0."""
    size, fill = buffer["bytes"], buffer["fill"]
    if fill == "OUTPUT":
        return bytes(size)
    bits = int.from_bytes(drawn(size, seed), "little")
    if fill == "FLOATS":
        # Sign and fraction are random, so they are from 0.5 to 1 or the same below 0.
        bits = bits & repeated("ffff7f80", size) | repeated("0000003f", size)
    elif fill == "PIXELS":
        bits &= repeated("ff00", size)
    return (bits & repeated(buffer["real"], size)).to_bytes(size, "little")


def arguments(described: dict[str, Any], constants: BinaryIO) -> list[bytes]:
    """The bytes of every argument."""
    found, seed = [], 0
    for buffer in described["buffers"]:
        if buffer["fill"] == "CONSTANT":
            found.append(constants.read(buffer["bytes"]))
        else:
            # Seeds count what is not a constant: schedules differ in how many they have.
            seed += 1
            found.append(filled(buffer, seed))
    return found


def digest(gpu: Gpu, described: dict[str, Any], places: list[ctypes.c_uint64]) -> str:
    """Of the outputs' real channels."""
    found = hashlib.sha256()
    for buffer, at in zip(described["buffers"], places, strict=True):
        if buffer["fill"] == "OUTPUT":
            size = buffer["bytes"]
            data = int.from_bytes(gpu.fetched(at, size), "little")
            found.update((data & repeated(buffer["real"], size)).to_bytes(size, "little"))
    return found.hexdigest()[:16]


def main(argv: list[str]) -> None:
    """See above."""
    if argv == ["--gpu"]:
        print(Gpu().name())
        return
    path, repeats, microseconds, limit, _ = argv
    with Path(path).open("rb") as constants:
        described = json.loads(constants.readline())
        image = constants.read(described["image"])
        data = arguments(described, constants)
    gpu = Gpu()
    # A kernel that hangs is no reason to wait; a driver may take long to start.
    signal.alarm(int(limit))
    function = gpu.function(gpu.module(image), described["symbol"], described["shared"])
    places = [gpu.memory(d) for d in data]
    kernel = Kernel(gpu, function, described, places)
    seconds = kernel.bursts(int(repeats), 1e-6 * float(microseconds))
    found = {
        "name": described["name"],
        "seconds": seconds,
        "digest": digest(gpu, described, places),
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1:])
