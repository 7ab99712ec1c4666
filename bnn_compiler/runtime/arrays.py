"""Arrays on a GPU, whatever library they are of: PyTorch's, or any with ``__dlpack__`` or
``__cuda_array_interface__``. None of those libraries is imported.
"""

import ctypes
import math
import sys
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bnn_compiler.errors import InputError
from bnn_compiler.runtime.cuda import Network
from bnn_compiler.runtime.tensors import Tensor, is_tensor

#: CUDA's handle of the stream that other libraries mean if they name none.
DEFAULT_STREAM = 1
#: Device types of DLPack: memory of a GPU, and memory that the driver moves to where it is used.
_DLPACK_GPU = (2, 13)
#: DLPack's (kind of number, bits) by numpy's dtype.
_DLPACK_TYPES = {
    (2, 32): "float32",
    (1, 8): "uint8",
    (6, 8): "bool",
    (0, 32): "int32",
    (0, 64): "int64",
}


@dataclass(frozen=True, slots=True)
class Foreign:
    """An array of another library on a GPU; ``stream`` is the one it is made in, if it says so.

    ``owner`` keeps its memory alive.
    """

    pointer: int
    shape: tuple[int, ...]
    dtype: str
    dense: bool
    writable: bool
    stream: int | None
    owner: object

    def checked(self, tensor: Tensor, what: str) -> int:
        """Its address. Raises InputError unless it is dense, of ``tensor``'s dtype and shape.

        ``what`` is "input" or "out for".
        """
        if self.dtype != str(tensor.dtype) or self.shape != tensor.shape:
            raise InputError(
                f"{what} {tensor.name} is {self.dtype} {list(self.shape)} on the GPU, the network's"
                f" is {tensor.dtype} {list(tensor.shape)}"
            )
        if not self.dense:
            raise InputError(
                f"{what} {tensor.name} on the GPU has strides; give a dense array in C order (of"
                " a tensor: x.contiguous())"
            )
        if self.pointer % tensor.dtype.itemsize:
            raise InputError(f"{what} {tensor.name} on the GPU is not aligned to its elements")
        if what != "input" and not self.writable:
            raise InputError(f"{what} {tensor.name} on the GPU cannot be written to")
        return self.pointer


class GpuArray:
    """A result on a GPU, for what takes ``__cuda_array_interface__``; ``numpy()`` copies it."""

    def __init__(
        self, network: Network, shape: tuple[int, ...], dtype: np.dtype[Any], stream: int
    ) -> None:
        self.shape, self.dtype = shape, dtype
        self._network, self._stream = network, stream
        self._bytes = self.dtype.itemsize * math.prod(shape)
        memory = ctypes.c_void_p()
        network.check(network.call("allocate", network.handle, self._bytes, ctypes.byref(memory)))
        self._pointer = int(memory.value or 0)
        release = weakref.finalize(self, network.call, "release", network.handle, self._pointer)
        release.atexit = False

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        return {
            "shape": self.shape,
            "typestr": self.dtype.str,
            "data": (self._pointer, False),
            "strides": None,
            "stream": self._stream or DEFAULT_STREAM,
            "version": 3,
        }

    def numpy(self) -> NDArray[Any]:
        """A copy in this machine's memory, once it is there."""
        found = np.empty(self.shape, self.dtype)
        network, at = self._network, found.ctypes.data
        arguments = (network.handle, at, self._pointer, self._bytes, self._stream)
        network.check(network.call("fetch", *arguments))
        return found


def on_gpu(value: object) -> bool:
    """Whether it is an array on a GPU."""
    if isinstance(value, np.ndarray):
        return False
    if is_tensor(value):
        return bool(value.is_cuda)  # type: ignore[attr-defined]
    if hasattr(value, "__cuda_array_interface__"):
        return True
    device = getattr(value, "__dlpack_device__", None)
    return device is not None and device()[0] in _DLPACK_GPU


def stream_of(values: Sequence[object]) -> int:
    """The stream in which the first array that names one is made, else CUDA's default one."""
    for value in values:
        if is_tensor(value):
            if value.is_cuda:  # type: ignore[attr-defined]
                cuda = sys.modules["torch"].cuda
                return int(cuda.current_stream(value.device).cuda_stream)  # type: ignore[attr-defined]
        elif on_gpu(value):
            found = getattr(value, "__cuda_array_interface__", {}).get("stream")
            if found is not None:
                return int(found)
    return DEFAULT_STREAM


def handle_of(stream: object) -> int:
    """The handle of a stream: a number, or PyTorch's, CuPy's or cuda.core's stream.

    Raises InputError for anything else.
    """
    if isinstance(stream, int):
        return stream
    for name in ("cuda_stream", "ptr"):
        found = getattr(stream, name, None)
        if isinstance(found, int):
            return found
    protocol = getattr(stream, "__cuda_stream__", None)
    if protocol is not None:
        return int(protocol()[1])
    raise InputError(
        f"stream is a {type(stream).__name__}; give a stream of PyTorch, CuPy or cuda.core, or its"
        " handle"
    )


def foreign(value: Any, name: str, stream: int) -> Foreign:
    """What is known of an array on a GPU that is going to be used in ``stream``.

    Raises InputError if its library does not tell. ``name`` is for the error.
    """
    if is_tensor(value):
        return _of_tensor(value)
    interface = getattr(value, "__cuda_array_interface__", None)
    if interface is not None:
        return _of_interface(value, interface)
    try:
        capsule = value.__dlpack__(stream=stream or DEFAULT_STREAM)
        return _of_capsule(capsule)
    except (BufferError, TypeError, ValueError, RuntimeError) as e:
        raise InputError(f"{name} on the GPU cannot be taken by DLPack: {e}") from e


def _of_tensor(value: Any) -> Foreign:
    plain = value.detach()
    return Foreign(
        int(plain.data_ptr()),
        tuple(plain.shape),
        str(plain.dtype).removeprefix("torch."),
        bool(plain.is_contiguous()) and not plain.is_neg(),
        True,
        None,
        plain,
    )


def _of_interface(value: Any, interface: dict[str, Any]) -> Foreign:
    shape, dtype = tuple(interface["shape"]), np.dtype(interface["typestr"])
    pointer, read_only = interface["data"]
    strides, stream = interface.get("strides"), interface.get("stream")
    dense = interface.get("mask") is None and _dense(shape, strides, dtype.itemsize)
    return Foreign(int(pointer), shape, str(dtype), dense, not read_only, stream, value)


def _dense(shape: Sequence[int], strides: Sequence[int] | None, step: int) -> bool:
    """Whether ``strides`` are those of C order, of elements of ``step``; None says so."""
    for size, stride in zip(reversed(shape), reversed(strides or ()), strict=False):
        if size != 1 and stride != step:
            return False
        step *= size
    return True


class _DLTensor(ctypes.Structure):
    _fields_ = (
        ("data", ctypes.c_void_p),
        ("device_type", ctypes.c_int32),
        ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    )


def _of_capsule(capsule: object) -> Foreign:
    """What a capsule of DLPack holds; left as it is, it gives its array back when it goes."""
    get = ctypes.pythonapi.PyCapsule_GetPointer
    get.restype, get.argtypes = ctypes.c_void_p, (ctypes.py_object, ctypes.c_char_p)
    found = _DLTensor.from_address(get(capsule, b"dltensor"))
    shape = tuple(found.shape[: found.ndim])
    strides = tuple(found.strides[: found.ndim]) if found.strides else None
    dtype = _DLPACK_TYPES.get((found.code, found.bits), f"DLPack's {found.code}:{found.bits}")
    return Foreign(
        (found.data or 0) + found.byte_offset,
        shape,
        dtype if found.lanes == 1 else f"{dtype} x {found.lanes}",
        _dense(shape, strides, 1),
        True,
        None,
        capsule,
    )
