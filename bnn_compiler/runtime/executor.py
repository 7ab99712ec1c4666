"""What runs the steps of a network. An artifact and its sessions know no more of a machine."""

import ctypes
import threading
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from bnn_compiler.errors import ArtifactError
from bnn_compiler.runtime import files
from bnn_compiler.runtime.library import Library
from bnn_compiler.runtime.manifest import Manifest
from bnn_compiler.runtime.tensors import address, aligned

#: Memory for one run at a time; what it is only its executor knows.
Workspace = Any


class Executor(Protocol):
    """Thread-safe. ``places`` are the addresses of every input and then of every output.

    A run returns 0, HAS_NAN or the code of a kernel that failed. Once it is closed, every method
    raises ArtifactError. It can be copied, which shares the loaded code, and pickled with it.
    """

    @property
    def threads(self) -> int:
        """The number of threads in force."""

    def set_threads(self, count: int) -> int:
        """Use ``count`` threads (at least 1); the number in force."""

    def prepare(self) -> None:
        """Load the code. Raises ArtifactError or BuildError if it cannot be run here."""

    def run(self, places: Sequence[int], check_finite: bool) -> int:
        """Every step; HAS_NAN before the first if ``check_finite`` finds one in an input."""

    def run_steps(
        self,
        workspace: Workspace,
        places: Sequence[int],
        first: int,
        last: int,
        seconds: NDArray[np.float64] | None,
    ) -> int:
        """Steps first..last-1; ``seconds[i]`` grows by the time of step i."""

    def new_workspace(self) -> Workspace:
        """Zeroed. Raises ArtifactError if there is no memory for it."""

    def read(self, workspace: Workspace, offset: int, size: int) -> NDArray[np.uint8]:
        """Bytes of a workspace, not to be written to."""

    def write(self, workspace: Workspace, offset: int, data: NDArray[np.uint8]) -> None:
        """Change bytes of a workspace."""

    def close(self) -> None:
        """Give everything back, once the runs in progress in other threads have ended."""


class LibraryExecutor:
    """Runs NAME.so in this process; it is mapped when it is first needed, so that what is for
    another machine can be described here.
    """

    def __init__(self, path: Path, manifest: Manifest, content: bytes, threads: int = 1) -> None:
        self.path, self.manifest = path, manifest
        self._content = content
        self._lock = threading.Lock()
        self._library: Library | None = None
        self._frames: deque[Frame] | None = deque()
        if threads > 1:
            self.set_threads(threads)

    @property
    def threads(self) -> int:
        return 1 if self._library is None else self._library.threads

    def set_threads(self, count: int) -> int:
        return self.library().set_threads(count)

    def prepare(self) -> None:
        self.library()

    def library(self) -> Library:
        """Whoever calls into it holds this reference, so that ``close`` does not unmap it."""
        library = self._library
        if library is not None:
            return library
        with self._lock:
            self._open()
            if self._library is None:
                files.check_cpu(self.path, self.manifest.target)
                try:
                    self._library = Library(self.manifest.name, self._content)
                except OSError as e:
                    raise ArtifactError(f"{self.path}: its library cannot be mapped: {e}") from e
                self._content = b""
            return self._library

    def run(self, places: Sequence[int], check_finite: bool) -> int:
        library, frames = self._library or self.library(), self._frames
        if frames is None:
            frames = self._open()
        try:
            frame = frames.pop()
        except IndexError:
            frame = Frame(self.new_workspace(), self.manifest)
        frame.pointers[:] = places  # type: ignore[call-overload]
        call = library.run_checked if check_finite else library.run_steps
        code = call(*frame.arguments)
        frames.append(frame)
        return code

    def run_steps(
        self,
        workspace: Workspace,
        places: Sequence[int],
        first: int,
        last: int,
        seconds: NDArray[np.float64] | None,
    ) -> int:
        frame = Frame(workspace, self.manifest, first, last, seconds)
        frame.pointers[:] = places  # type: ignore[call-overload]
        return self.library().run_steps(*frame.arguments)

    def new_workspace(self) -> Workspace:
        self._open()
        return host_workspace(self.path, self.manifest.workspace_bytes)

    def read(self, workspace: Workspace, offset: int, size: int) -> NDArray[np.uint8]:
        part: NDArray[np.uint8] = workspace[offset : offset + size]
        return part

    def write(self, workspace: Workspace, offset: int, data: NDArray[np.uint8]) -> None:
        workspace[offset : offset + data.size] = data

    def close(self) -> None:
        with self._lock:
            self._frames = self._library = None
            self._content = b""

    def __reduce__(self) -> tuple[Any, ...]:
        with self._lock:
            self._open()
            content = self._content if self._library is None else self._library.content
        return type(self), (self.path, self.manifest, content, self.threads)

    def __copy__(self) -> "LibraryExecutor":
        self._open()
        other = LibraryExecutor(self.path, self.manifest, self._content)
        other._library = self._library
        return other

    def _open(self) -> "deque[Frame]":
        if self._frames is None:
            raise closed(self.path)
        return self._frames


class Frame:
    """The workspace and the C arguments of one run at a time, made once for many runs."""

    def __init__(
        self,
        workspace: NDArray[np.uint8],
        manifest: Manifest,
        first: int = 0,
        last: int | None = None,
        seconds: NDArray[np.float64] | None = None,
    ) -> None:
        self.workspace = workspace
        inputs = len(manifest.inputs)
        self.pointers = (ctypes.c_void_p * (inputs + len(manifest.outputs)))()
        start = ctypes.addressof(self.pointers)
        # As ctypes objects: to convert them in each call would take as long as the call.
        self.arguments = (
            ctypes.c_void_p(start),
            ctypes.c_void_p(start + inputs * ctypes.sizeof(ctypes.c_void_p)),
            ctypes.c_void_p(address(workspace)),
            ctypes.c_int32(first),
            ctypes.c_int32(len(manifest.steps) if last is None else last),
            ctypes.c_void_p(None if seconds is None else address(seconds)),
        )


def host_workspace(path: Path, size: int) -> NDArray[np.uint8]:
    """A workspace in this process. Raises ArtifactError if there is no memory for it."""
    try:
        return aligned(size)
    except MemoryError as e:
        raise ArtifactError(f"{path}: no memory for its workspace of {size / 1e6:.1f} MB") from e


def closed(path: Path) -> ArtifactError:
    """What the use of a closed artifact raises."""
    return ArtifactError(f"{path} is closed; load it again")
