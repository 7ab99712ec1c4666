"""What runs a network on a GPU: NAME.so, which calls the driver itself (docs/cuda.md)."""

import ctypes
import threading
import weakref
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bnn_compiler.errors import ArtifactError, InputError
from bnn_compiler.runtime import files
from bnn_compiler.runtime.executor import Workspace, closed
from bnn_compiler.runtime.library import HAS_NAN, Mapped
from bnn_compiler.runtime.manifest import Manifest
from bnn_compiler.runtime.tensors import address

#: What a call returns for a pointer to memory of another GPU.
_WRONG_POINTER = -8

_INT, _LONG, _POINTER = ctypes.c_int32, ctypes.c_uint64, ctypes.c_void_p
_RUN = (_INT, _POINTER, _POINTER, _POINTER, _POINTER)
#: The functions of deploy/cuda/abi.py that are called here: what they return and take.
_PROTOTYPES: dict[str, tuple[Any, ...]] = {
    "open": (_INT, _INT, _POINTER),
    "close": (None, _POINTER),
    "start": (_INT, _POINTER, _POINTER),
    "end": (None, _POINTER),
    "run": _RUN,
    "run_checked": _RUN,
    "run_steps": (_INT, _POINTER, _POINTER, _POINTER, _INT, _INT, _POINTER),
    "read": (_INT, _POINTER, _LONG, _LONG, _POINTER),
    "write": (_INT, _POINTER, _LONG, _LONG, _POINTER),
    "wait": (_INT, _POINTER),
    "stream": (_POINTER, _POINTER),
    "device": (_INT, _POINTER),
    "gpu": (_INT, _POINTER, ctypes.c_char_p, _INT),
    "allocate": (_INT, _POINTER, _LONG, _POINTER),
    "release": (None, _POINTER, _POINTER),
    "fetch": (_INT, _POINTER, _POINTER, _POINTER, _LONG, _POINTER),
    "error": (ctypes.c_char_p,),
}


class Network:
    """Code and weights on one GPU, given back when it is collected."""

    def __init__(self, path: Path, name: str, mapped: Mapped, device: int) -> None:
        self.path, self.mapped = path, mapped
        self._calls = {
            symbol: ctypes.CFUNCTYPE(*prototype)(mapped.address(symbol))
            for symbol, prototype in _PROTOTYPES.items()
        }
        handle = _POINTER()
        self.check(self.call("open", device, ctypes.byref(handle)))
        self.handle = handle.value
        # At exit the process ends, and the driver with it.
        weakref.finalize(
            self, _give_back, mapped, self._calls["close"], handle.value
        ).atexit = False
        #: The number of its GPU.
        self.device = int(self.call("device", self.handle))

    @property
    def gpu(self) -> str:
        """What its GPU is called."""
        name = ctypes.create_string_buffer(128)
        self.check(self.call("gpu", self.handle, name, len(name)))
        return name.value.decode(errors="replace")

    def wait_for(self, stream: int) -> None:
        """Until what is in ``stream`` has ended."""
        nothing = ctypes.create_string_buffer(1)
        self.check(self.call("fetch", self.handle, nothing, None, 0, stream))

    def call(self, symbol: str, *arguments: Any) -> Any:
        """A function of the library."""
        return self._calls[symbol](*arguments)

    def check(self, code: int) -> None:
        """Raise InputError or ArtifactError, with the library's words, for a code of failure."""
        if code:
            words = self.call("error").decode(errors="replace")
            raise (InputError if code == _WRONG_POINTER else ArtifactError)(f"{self.path}: {words}")


class Space:
    """A workspace on a GPU: one run at a time. Given back when it is collected."""

    def __init__(self, network: Network, manifest: Manifest) -> None:
        self.network = network
        self._inputs = len(manifest.inputs)
        self._pointers = (_POINTER * (self._inputs + len(manifest.outputs)))()
        self._lock = threading.Lock()
        start = ctypes.addressof(self._pointers)
        self._ins = _POINTER(start)
        self._outs = _POINTER(start + self._inputs * ctypes.sizeof(_POINTER))
        handle = _POINTER()
        network.check(network.call("start", network.handle, ctypes.byref(handle)))
        self._handle = handle.value
        end = network._calls["end"]
        weakref.finalize(self, _give_back, network, end, handle.value).atexit = False
        #: Its own stream.
        self.stream = int(network.call("stream", self._handle) or 0)

    def run(self, places: Sequence[int], check_finite: bool, stream: int) -> int:
        """Every step, in ``stream``: 0 or HAS_NAN. Raises InputError or ArtifactError."""
        symbol = "run_checked" if check_finite else "run"
        with self._lock:
            self._pointers[:] = places  # type: ignore[call-overload]
            code = self.network.call(symbol, self._handle, self._ins, self._outs, stream)
            if code != HAS_NAN:
                self.network.check(code)
        return int(code)

    def run_steps(
        self, places: Sequence[int], first: int, last: int, seconds: NDArray[np.float64] | None
    ) -> None:
        """Steps first..last-1, by the clock of the GPU."""
        at = None if seconds is None else address(seconds)
        with self._lock:
            self._pointers[:] = places  # type: ignore[call-overload]
            arguments = (self._handle, self._ins, self._outs, first, last, at)
            self.network.check(self.network.call("run_steps", *arguments))

    def move(self, symbol: str, offset: int, data: NDArray[np.uint8]) -> None:
        """ "read" into or "write" from ``data``."""
        arguments = (self._handle, offset, data.nbytes, address(data))
        self.network.check(self.network.call(symbol, *arguments))

    def wait(self) -> None:
        """Until its runs have ended."""
        self.network.check(self.network.call("wait", self._handle))


class CudaExecutor:
    """Runs NAME.so in this process. The GPU is first asked for when it is needed.

    ``device`` is its number; -1 is that of this thread's context, or else the first.
    """

    def __init__(self, path: Path, manifest: Manifest, content: bytes, device: int = -1) -> None:
        self.path, self.manifest, self.device = path, manifest, device
        self._content = content
        self._lock = threading.Lock()
        self._network: Network | None = None
        self._spaces: deque[Space] | None = deque()

    @property
    def threads(self) -> int:
        return 1

    def set_threads(self, count: int) -> int:
        """1 is in force: a GPU has its own."""
        self._open()
        return 1

    def prepare(self) -> None:
        self.network()

    def network(self) -> Network:
        """Whoever uses it holds this reference, so that ``close`` does not take it away."""
        network = self._network
        if network is not None:
            return network
        with self._lock:
            self._open()
            if self._network is None:
                files.check_cpu(self.path, self.manifest.target)
                name = self.manifest.name
                try:
                    mapped = Mapped(name, self._content)
                except OSError as e:
                    raise ArtifactError(f"{self.path}: its library cannot be mapped: {e}") from e
                self._network = Network(self.path, name, mapped, self.device)
                self._content = b""
            return self._network

    def run(self, places: Sequence[int], check_finite: bool) -> int:
        return self.run_in(places, check_finite, None)

    def run_in(self, places: Sequence[int], check_finite: bool, stream: int | None) -> int:
        """Every step in ``stream``, or one of its own; places are of the host or of the GPU.

        Raises InputError for memory of another GPU.
        """
        spaces = self._open()
        try:
            space = spaces.pop()
        except IndexError:
            space = self.new_workspace()
        try:
            return space.run(places, check_finite, space.stream if stream is None else stream)
        finally:
            spaces.append(space)

    def run_steps(
        self,
        workspace: Workspace,
        places: Sequence[int],
        first: int,
        last: int,
        seconds: NDArray[np.float64] | None,
    ) -> int:
        self._open()
        workspace.run_steps(places, first, last, seconds)
        return 0

    def new_workspace(self) -> Space:
        return Space(self.network(), self.manifest)

    def read(self, workspace: Workspace, offset: int, size: int) -> NDArray[np.uint8]:
        data = np.empty(size, np.uint8)
        workspace.move("read", offset, data)
        return data

    def write(self, workspace: Workspace, offset: int, data: NDArray[np.uint8]) -> None:
        workspace.move("write", offset, np.ascontiguousarray(data))

    def close(self) -> None:
        with self._lock:
            self._spaces = self._network = None
            self._content = b""

    def __reduce__(self) -> tuple[Any, ...]:
        with self._lock:
            self._open()
            network = self._network
            content = self._content if network is None else network.mapped.content
        return type(self), (self.path, self.manifest, content, self.device)

    def __copy__(self) -> "CudaExecutor":
        self._open()
        other = CudaExecutor(self.path, self.manifest, self._content, self.device)
        other._network = self._network
        return other

    def _open(self) -> deque[Space]:
        if self._spaces is None:
            raise closed(self.path)
        return self._spaces


def _give_back(held: object, end: Any, handle: int | None) -> None:
    """What ``held`` keeps alive until then: the network of a session, the library of a network."""
    end(handle)
