"""What a network takes and gives: arrays are checked against it before every run."""

import ctypes
import math
import sys
from collections.abc import Callable, Iterable
from ctypes import addressof
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bnn_compiler.errors import InputError
from bnn_compiler.runtime.manifest import ALIGN, TensorEntry

_FLOAT32, _UINT8 = np.dtype(np.float32), np.dtype(np.uint8)
_HALVES = ("torch.float16", "torch.bfloat16")
_Array = np.ndarray
#: The first byte of an array. Raises TypeError or ValueError unless it is writable, in C order and
#: not empty. Its ``addressof`` is ``address`` in a third of the time.
first_byte: Callable[[Any], ctypes.c_char] = ctypes.c_char.from_buffer


@dataclass(frozen=True, slots=True)
class Tensor:
    """One input or output: its name, its shape and its dtype."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    bytes: int = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "bytes", math.prod(self.shape) * self.dtype.itemsize)

    @staticmethod
    def of(entry: TensorEntry) -> "Tensor":
        """What the manifest says of it."""
        return Tensor(entry.name, entry.shape, np.dtype(entry.dtype))

    def quick(self, value: Any) -> int:
        """The address of ``value`` if it can be used as it is; 0 if more has to be done.

        That is a writable array in C order, or a dense tensor of this machine's memory. Most calls
        bring one, so as little as possible is asked here.
        """
        dtype = self.dtype
        if type(value) is not _Array:
            return self._quick_tensor(value)
        if value.dtype is not dtype or value.shape != self.shape:
            return 0
        try:
            at = addressof(first_byte(value))
        except (TypeError, ValueError):
            return 0
        return 0 if at % dtype.itemsize else at

    def _quick_tensor(self, value: Any) -> int:
        torch = sys.modules.get("torch")
        if torch is None or type(value) is not torch.Tensor:
            return 0
        dtype = getattr(torch, self.dtype.name)
        try:
            if (
                value.dtype is not dtype
                or value.shape != self.shape
                or not value.is_cpu
                or value.layout is not torch.strided
                or not value.is_contiguous()
                or value.is_neg()
            ):
                return 0
            at: int = value.data_ptr()
        # Tensors of transforms have no memory.
        except (RuntimeError, NotImplementedError):
            return 0
        return 0 if at % self.dtype.itemsize else at

    def checked(self, value: Any) -> NDArray[Any]:
        """``value`` as an aligned array in C order, the same memory where that is possible.

        Half precision is widened, which is exact. Raises InputError for another type, dtype or
        shape.
        """
        given = value.dtype if is_tensor(value) else None
        if given is not None:
            try:
                value = (widened(value) if self.dtype == _FLOAT32 else value).detach().cpu().numpy()
            except (TypeError, RuntimeError, NotImplementedError) as e:
                if str(given) in _HALVES:
                    raise self._wrong_dtype(given) from e
                raise InputError(f"input {self.name} cannot be read as an array: {e}") from e
        if not isinstance(value, np.ndarray):
            raise InputError(
                f"input {self.name} is a {type(value).__name__}; give a numpy array or tensor"
            )
        if self.dtype == _FLOAT32:
            value = widened(value)
        if value.dtype != self.dtype:
            raise self._wrong_dtype(value.dtype if given is None else given)
        if value.shape != self.shape:
            raise InputError(
                f"input {self.name} has shape {list(value.shape)}, compiled for"
                f" {list(self.shape)}; the batch size is fixed at compile time"
                " (compile(batches=...) takes several)"
            )
        return np.require(value, requirements=["C", "A"])

    def check_finite(self, array: NDArray[Any]) -> None:
        """Raise InputError for a NaN."""
        # The minimum is NaN if anything is: several times faster than looking at each element.
        if self.dtype == _FLOAT32 and np.isnan(array.min()):
            at = [int(i) for i in np.argwhere(np.isnan(array))[0]]
            raise InputError(f"input {self.name} is NaN at {at}, and a NaN has no sign")

    def out_address(self, value: Any) -> int:
        """The address of ``value``. Raises InputError unless a result can be written to it."""
        if not isinstance(value, np.ndarray):
            raise InputError(
                f"out for {self.name} is a {type(value).__name__}; give a numpy array"
                " (of a tensor: y.numpy(), which shares its memory)"
            )
        if value.dtype != self.dtype or value.shape != self.shape:
            raise InputError(
                f"out for {self.name} is {value.dtype} {list(value.shape)}, the output is"
                f" {self.dtype} {list(self.shape)}"
            )
        if not value.flags.carray:
            raise InputError(
                f"out for {self.name} is not a writable, aligned array in C order; give one made by"
                " np.empty"
            )
        return address(value)

    def _wrong_dtype(self, given: object) -> InputError:
        found = str(given)
        if self.dtype == _UINT8:
            way = "give bytes from 0 to 255, or compile without input_dtype for float32"
        elif self.dtype != _FLOAT32:
            call = "x.to(torch" if found.startswith("torch.") else "x.astype(np"
            way = f"convert it: {call}.{self.dtype})"
        else:
            tensor = found.startswith("torch.")
            way = f"convert it: {'x.float()' if tensor else 'x.astype(np.float32)'}"
            if found in ("uint8", "torch.uint8"):
                way += ', or compile(input_dtype="uint8") for images as bytes'
        return InputError(f"input {self.name} is {found}, compiled for {self.dtype}; {way}")


def widened(value: Any) -> Any:
    """An array or tensor of half precision as float32, which is exact; any other as it is."""
    if is_tensor(value):
        return value.float() if str(value.dtype) in _HALVES else value
    return value.astype(np.float32) if value.dtype == np.float16 else value


def is_tensor(value: object) -> bool:
    """Whether it is torch's; torch is not imported to find out."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor)


def address(array: NDArray[Any]) -> int:
    """Where an array's memory begins."""
    return int(array.ctypes.data)


def aligned(size: int) -> NDArray[np.uint8]:
    """``size`` zeroed bytes, aligned to ``ALIGN``."""
    memory = np.zeros(size + ALIGN, np.uint8)
    start = -address(memory) % ALIGN
    return memory[start : start + size]


def noise(entries: Iterable[TensorEntry]) -> list[NDArray[Any]]:
    """One array for each input, the same every time: images of every byte, floats around 0."""
    rng = np.random.default_rng(0)

    def one(entry: TensorEntry) -> NDArray[Any]:
        if entry.dtype == "uint8":
            return rng.integers(0, 256, entry.shape, np.uint8)
        if entry.dtype == "float32":
            return rng.normal(size=entry.shape).astype(np.float32)
        # Whatever integers index has these.
        return rng.integers(0, 2, entry.shape).astype(entry.dtype)

    return [one(entry) for entry in entries]
