"""The stub's side of a scenario: its calls, arrays on its device, and what a network must give.

Imported by scenarios.py, in a process that was given the folder of a stub.Built.
"""

import ctypes
import gc
import sys
from pathlib import Path

import numpy as np

from bnn_compiler import runtime
from bnn_compiler.errors import BnnCompilerError

FOLDER = Path(sys.argv[1])
PATH = FOLDER / "net.bnn"
_known = np.load(FOLDER / "known.npz")
X = [_known[k] for k in _known.files if k.startswith("in")]
Y = [_known[k] for k in _known.files if k.startswith("out")]


class Stub:
    """The driver's own side."""

    def __init__(self):
        self.cu = ctypes.CDLL("libcuda.so.1")
        self.cu.stub_violations.restype = self.cu.stub_failed.restype = ctypes.c_char_p
        for name in ("calls", "live", "pending", "depth"):
            getattr(self.cu, f"stub_{name}").restype = ctypes.c_long
        self.cu.stub_context.restype = ctypes.c_void_p
        paths = (FOLDER / "kernels.so", FOLDER / "launches.txt")
        assert self.cu.stub_kernels(*(str(p).encode() for p in paths)) == 0

    def set(self, key, value):
        self.cu.stub_set(key.encode(), ctypes.c_long(value))

    def fail(self, n):
        self.cu.stub_fail(ctypes.c_long(n))

    def check(self):
        """Nothing was done wrong, nothing is left."""
        gc.collect()
        assert not self.cu.stub_violations(), self.cu.stub_violations().decode()
        assert self.cu.stub_live() == 0, f"{self.cu.stub_live()} objects are left"
        assert self.cu.stub_depth() == 0, "a context is left current"
        assert self.cu.stub_pending() == 0, "work is left in a stream"

    def enter(self, device=0):
        """Take the primary context, as torch would."""
        context = ctypes.c_void_p()
        assert self.cu.cuDevicePrimaryCtxRetain(ctypes.byref(context), device) == 0
        assert self.cu.cuCtxPushCurrent_v2(context) == 0

    def leave(self, device=0):
        assert self.cu.cuCtxPopCurrent_v2(ctypes.byref(ctypes.c_void_p())) == 0
        assert self.cu.cuDevicePrimaryCtxRelease_v2(device) == 0

    def stream(self):
        made = ctypes.c_void_p()
        assert self.cu.cuStreamCreate(ctypes.byref(made), 1) == 0
        return made.value

    def destroy(self, stream):
        assert self.cu.cuStreamDestroy_v2(ctypes.c_void_p(stream)) == 0

    def finish(self, stream):
        assert self.cu.cuStreamSynchronize(ctypes.c_void_p(stream)) == 0


class Array:
    """An array on the stub's device, as another library would have it."""

    def __init__(self, stub, value, stream=None, **changes):
        self.stub, self.value = stub, np.ascontiguousarray(value)
        at = ctypes.c_ulonglong()
        size = self.value.nbytes + 64
        assert stub.cu.cuMemAlloc_v2(ctypes.byref(at), ctypes.c_size_t(size)) == 0
        self.at = at.value
        data = self.value.ctypes.data
        copied = stub.cu.cuMemcpyHtoD_v2(
            ctypes.c_ulonglong(self.at), ctypes.c_void_p(data), ctypes.c_size_t(self.value.nbytes)
        )
        assert copied == 0
        # Whoever has its copy is not told of the stream that brings it.
        assert stub.cu.cuStreamSynchronize(None) == 0
        self.__cuda_array_interface__ = {
            "shape": self.value.shape,
            "typestr": self.value.dtype.str,
            "data": (self.at, False),
            "version": 3,
            "stream": stream,
            **changes,
        }

    def begin_copy(self, value):
        """Of ``value``, which has to stay, in the array's stream."""
        copied = self.stub.cu.cuMemcpyHtoDAsync_v2(
            ctypes.c_ulonglong(self.at),
            ctypes.c_void_p(value.ctypes.data),
            ctypes.c_size_t(value.nbytes),
            ctypes.c_void_p(self.__cuda_array_interface__["stream"]),
        )
        assert copied == 0

    def numpy(self):
        found = np.empty_like(self.value)
        copied = self.stub.cu.cuMemcpyDtoH_v2(
            ctypes.c_void_p(found.ctypes.data),
            ctypes.c_ulonglong(self.at),
            ctypes.c_size_t(found.nbytes),
        )
        assert copied == 0
        return found

    def free(self):
        assert self.stub.cu.cuMemFree_v2(ctypes.c_ulonglong(self.at)) == 0


class Capsule:
    """An array that only DLPack tells of; ``dtype`` is DLPack's, that of ``array`` if None."""

    def __init__(self, array, dtype=None, device=2, strides=None, offset=0):
        shape = array.value.shape
        self.array, self.streams = array, []
        self._shape = (ctypes.c_int64 * len(shape))(*shape)
        self._strides = None if strides is None else (ctypes.c_int64 * len(shape))(*strides)
        known = {name: code for code, name in runtime.arrays._DLPACK_TYPES.items()}
        code = dtype or known[str(array.value.dtype)]
        self._tensor = runtime.arrays._DLTensor(
            array.at, device, 0, len(shape), *code, 1, self._shape, self._strides, offset
        )

    def __dlpack_device__(self):
        return self._tensor.device_type, 0

    def __dlpack__(self, stream=None):
        self.streams.append(stream)
        make = ctypes.pythonapi.PyCapsule_New
        make.restype, make.argtypes = (
            ctypes.py_object,
            (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p),
        )
        return make(ctypes.addressof(self._tensor), b"dltensor", None)


def results(found):
    return list(found) if isinstance(found, tuple) else [found]


def right(found):
    """Whether results are the CPU's, bit for bit."""
    found = results(found)
    return len(found) == len(Y) and all(
        a.tobytes() == b.tobytes() for a, b in zip(found, Y, strict=True)
    )


def refused(kind, words, call):
    """``call`` raises an error of ``kind`` that says ``words``, in one line."""
    try:
        call()
    except BnnCompilerError as e:
        assert type(e) is kind and words in str(e) and "\n" not in str(e), repr(e)
        return
    raise AssertionError(f"no error, {words!r} was wanted")
