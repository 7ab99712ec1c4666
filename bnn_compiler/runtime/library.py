"""The code of an artifact in this process, mapped while something refers to it."""

import _ctypes
import ctypes
import os
import tempfile
import weakref
from collections.abc import Callable
from pathlib import Path

_CALL = ctypes.CFUNCTYPE(ctypes.c_int32)
#: What ``run_checked`` returns for a NaN; kernels return -1 or 0.
HAS_NAN = -2


class Library:
    """Unmapped when it is collected, which joins its threads.

    So whoever runs it has to hold a reference: then nothing can unmap code that runs.
    Raises OSError if it cannot be mapped.
    """

    def __init__(self, name: str, content: bytes) -> None:
        handle, file = _map(name, content)
        # At exit the process ends with its threads, as they are.
        weakref.finalize(self, _unmap, handle, file).atexit = False
        self._file, self._size = file, len(content)
        self.threads = 1
        #: Takes ctypes objects: inputs, outputs, workspace, first, last, seconds; 0 is success.
        self.run_steps: Callable[..., int] = _CALL(_ctypes.dlsym(handle, f"{name}_run_steps"))
        #: The same, but HAS_NAN at once if a float input holds a NaN.
        self.run_checked: Callable[..., int] = _CALL(_ctypes.dlsym(handle, f"{name}_run_checked"))
        self._set_threads = _CALL(_ctypes.dlsym(handle, f"{name}_set_threads"))

    def set_threads(self, count: int) -> int:
        """Use ``count`` threads; the number in force."""
        self.threads = int(self._set_threads(ctypes.c_int32(count)))
        return self.threads

    @property
    def content(self) -> bytes:
        """The bytes of the library's file."""
        return os.pread(self._file, self._size, 0)


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
