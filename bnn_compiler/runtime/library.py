"""The code of an artifact in this process, mapped while something refers to it."""

import _ctypes
import ctypes
import os
import tempfile
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bnn_compiler.errors import ArtifactError

_CALL = ctypes.CFUNCTYPE(ctypes.c_int32)
#: What ``run_checked`` returns for a NaN; kernels return -1 or 0.
HAS_NAN = -2
#: What a step on AMX tiles returns where the system does not let the process use them.
NO_TILES = -3


def failure(path: Path, code: int) -> ArtifactError:
    """What a run raises that returned ``code``, other than HAS_NAN."""
    if code == NO_TILES:
        return ArtifactError(
            f"{path}: the system does not let this process use AMX tiles (Linux from 5.16 on does,"
            " if no thread has a small alternate signal stack);"
            " compile it with --target x86-avx512-vpopcnt"
        )
    return ArtifactError(f"{path}: a kernel returned {code}")


class Mapped:
    """A shared library, unmapped when it is collected, which joins its threads.

    So whoever runs it has to hold a reference: then nothing can unmap code that runs.
    Raises OSError if it cannot be mapped.
    """

    def __init__(self, name: str, content: bytes) -> None:
        self._name, self._size = name, len(content)
        self._handle, self._file = _map(name, content)
        # At exit the process ends with its threads, as they are.
        weakref.finalize(self, _unmap, self._handle, self._file).atexit = False

    def address(self, symbol: str) -> int:
        """Where NAME_``symbol`` is. Raises OSError if there is none."""
        return _ctypes.dlsym(self._handle, f"{self._name}_{symbol}")

    @property
    def content(self) -> bytes:
        """The bytes of the library's file."""
        return os.pread(self._file, self._size, 0)


@dataclass(frozen=True)
class Runs:
    """``run_steps`` takes ctypes objects: inputs, outputs, workspace, first, last, seconds; 0 is
    success. ``run_checked`` is the same, but HAS_NAN at once if a float input holds a NaN.

    ``held`` keeps their code mapped.
    """

    run_steps: Callable[..., int]
    run_checked: Callable[..., int]
    held: Mapped


class Library:
    """The code of a CPU's network. Raises OSError if it cannot be mapped."""

    def __init__(self, name: str, content: bytes) -> None:
        self._mapped = Mapped(name, content)
        self.threads = 1
        self._programs: dict[str, Runs] = {}
        whole = self.program("")
        self.run_steps, self.run_checked = whole.run_steps, whole.run_checked
        self._set_threads = _CALL(self._mapped.address("set_threads"))

    def program(self, part: str) -> "Runs":
        """The functions of the program for another batch size, whose names have ``part``.

        Raises OSError if there is none.
        """
        if part not in self._programs:
            steps, checked = (self._mapped.address(part + s) for s in ("run_steps", "run_checked"))
            self._programs[part] = Runs(_CALL(steps), _CALL(checked), self._mapped)
        return self._programs[part]

    def set_threads(self, count: int) -> int:
        """Use ``count`` threads; the number in force."""
        self.threads = int(self._set_threads(ctypes.c_int32(count)))
        return self.threads

    @property
    def content(self) -> bytes:
        """The bytes of the library's file."""
        return self._mapped.content


def _map(name: str, content: bytes) -> tuple[int, int]:
    """The handle of the mapped library, and its open file, which no folder lists."""
    try:
        file = os.memfd_create(name)
        # The loader knows libraries by their paths, so the file stays open while it is mapped.
        return _fill_and_open(file, f"/proc/self/fd/{file}", content), file
    except (OSError, AttributeError):
        # No memfd, no /proc, or code in memory is forbidden: a folder for temporary files it is.
        file, path = tempfile.mkstemp(prefix="bnn-", suffix=".so")
        try:
            return _fill_and_open(file, path, content), file
        finally:
            Path(path).unlink()


def _fill_and_open(file: int, path: str, content: bytes) -> int:
    try:
        with os.fdopen(file, "wb", closefd=False) as stream:
            stream.write(content)
        return _ctypes.dlopen(path, os.RTLD_NOW | os.RTLD_LOCAL)
    except OSError:
        os.close(file)
        raise


def _unmap(handle: int, file: int) -> None:
    _ctypes.dlclose(handle)
    os.close(file)
