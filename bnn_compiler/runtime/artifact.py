"""A compiled network, loaded: run it, profile it, read its manifest."""

import copy
import ctypes
import sys
import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from bnn_compiler.errors import ArtifactError, InputError
from bnn_compiler.runtime import files
from bnn_compiler.runtime.bounds import Bound, Peaks, bound
from bnn_compiler.runtime.library import HAS_NAN, Library
from bnn_compiler.runtime.session import Session, aligned, pointers
from bnn_compiler.runtime.tensors import Tensor, address, is_tensor, writable_address


@dataclass(frozen=True)
class LayerProfile:
    """One kernel call: median and minimum seconds, multiply-accumulates, and what it does.

    ``float_ratio`` is the time the layer took in float32 when it was tuned, divided by this form's;
    None where that was not measured. ``products`` are the multiply-accumulates computed where
    minimal filtering needs fewer than ``macs``. The bytes are those of every buffer and
    constant it touches, each whole and once; 0 if the artifact is too old to tell.
    """

    name: str
    op: str
    seconds: float
    seconds_min: float
    macs: int
    binary: bool
    fused: list[str]
    schedule: str
    bytes_read: int = 0
    bytes_written: int = 0
    bytes_weights: int = 0
    float_ratio: float | None = None
    products: int | None = None

    @property
    def gmacs(self) -> float:
        """Billions of multiply-accumulates per second, by the median."""
        return self.macs / self.seconds / 1e9 if self.seconds else 0.0

    @property
    def bytes(self) -> int:
        """Read, written and constant bytes together."""
        return self.bytes_read + self.bytes_written + self.bytes_weights

    def bound(self, peaks: Peaks) -> Bound:
        """The least seconds this call could take at ``peaks``; see bounds.py for the model."""
        return bound(peaks, macs=self.products or self.macs, op=self.op, size=self.bytes)


class _Frame:
    """The workspace and the C arguments of one run at a time, made once for many runs."""

    def __init__(self, workspace: NDArray[np.uint8], inputs: int, outputs: int, steps: int) -> None:
        self.workspace = workspace
        self.pointers = (ctypes.c_void_p * (inputs + outputs))()
        start = ctypes.addressof(self.pointers)
        # As ctypes objects: to convert them in each call would take as long as the call.
        self.arguments = (
            ctypes.c_void_p(start),
            ctypes.c_void_p(start + inputs * ctypes.sizeof(ctypes.c_void_p)),
            ctypes.c_void_p(address(workspace)),
            ctypes.c_int32(0),
            ctypes.c_int32(steps),
            ctypes.c_void_p(None),
        )


class Artifact:
    """A compiled network. Thread-safe: concurrent calls of ``run`` get a workspace each.

    ``with load(...) as net:`` or ``net.close()`` gives back its memory and its threads, as does the
    last reference that goes. It can be pickled, with its library; copies share the mapped library,
    and with it the number of threads.
    """

    def __init__(self, path: Path, manifest: dict[str, Any], content: bytes, size: int) -> None:
        self.path = path
        self.manifest = manifest
        #: Bytes on disk.
        self.size_bytes = size
        self._content = content
        self._inputs = [Tensor.of(t) for t in manifest["inputs"]]
        self._outputs = [Tensor.of(t) for t in manifest["outputs"]]
        self._sizes = [t.bytes for t in (*self._inputs, *self._outputs)]
        self._lock = threading.Lock()
        self._library: Library | None = None
        self._frames: deque[_Frame] | None = deque()

    @property
    def threads(self) -> int:
        """The number of threads in force."""
        return 1 if self._library is None else self._library.threads

    def check_runs_here(self) -> None:
        """Raise ArtifactError if it is closed, or this CPU or the loader refuses its library."""
        self._mapped()

    def set_threads(self, count: int) -> int:
        """Use ``count`` threads; the number in force. Raises InputError below 1."""
        check_threads(count)
        return self._mapped().set_threads(count)

    def run(self, *inputs: Any, check_finite: bool = True, out: Any = None) -> Any:
        """One result, or a tuple: numpy in, numpy out; torch in, torch out.

        ``out``, a float32 array or a tuple of one for each output, gets the results, and is what is
        returned. Raises InputError for a wrong number, shape or dtype, for a NaN, which has no sign
        bit, and for an ``out`` that overlaps an input or another; ArtifactError once it is closed.
        """
        arrays: Sequence[Any] = inputs
        places = [t.quick(x) for t, x in zip(self._inputs, inputs)]  # noqa: B905
        unusual = 0 in places or len(inputs) != len(self._inputs)
        if unusual:
            arrays = self._checked(inputs)
            places = [address(a) for a in arrays]
        if out is None:
            results = self._new_outputs()
            for result in results:
                places.append(writable_address(result))
        else:
            results = self._given_outputs(out, places)
        self._compute(arrays, results, places, check_finite)
        if unusual and out is None and inputs and is_tensor(inputs[0]):
            torch = sys.modules["torch"]
            results = [torch.from_numpy(r) for r in results]
        return results[0] if len(results) == 1 else tuple(results)

    def profile(self, *inputs: Any, repeat: int = 20) -> list[LayerProfile]:
        """Time every kernel call: the median and minimum of ``repeat`` runs after two warm-ups."""
        if repeat < 1:
            raise InputError(f"repeat {repeat}; give at least 1")
        session = Session(self)
        session.inputs = self._checked(inputs)
        self._check_finite(session.inputs)
        steps = self.manifest["steps"]
        runs = []
        for _ in range(repeat + 2):
            seconds = np.zeros(len(steps))
            session.run(0, len(steps), seconds)
            runs.append(seconds)
        table = np.array(runs[2:])
        return [
            LayerProfile(
                s["name"],
                s["op"],
                float(np.median(table[:, i])),
                float(table[:, i].min()),
                s["macs"],
                s["binary"],
                s["fused"],
                s["schedule"]["source"],
                s.get("bytes_read", 0),
                s.get("bytes_written", 0),
                s.get("bytes_weights", 0),
                float_ratio=s["schedule"].get("float_ratio"),
                products=s.get("products"),
            )
            for i, s in enumerate(steps)
        ]

    def close(self) -> None:
        """Give everything back, once the runs in progress in other threads have ended.

        Any further use raises ArtifactError.
        """
        with self._lock:
            self._frames = self._library = None
            self._content = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore, (self.path, self.manifest, self._bytes(), self.size_bytes, self.threads)

    def __copy__(self) -> Self:
        self._open()
        other = type(self)(self.path, self.manifest, self._content, self.size_bytes)
        other._library = self._library
        return other

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        other = copy.copy(self)
        other.manifest = copy.deepcopy(self.manifest, memo)
        return other

    def new_workspace(self) -> NDArray[np.uint8]:
        """Memory for one run at a time."""
        self._open()
        size = self.manifest["workspace_bytes"]
        try:
            return aligned(size)
        except MemoryError as e:
            raise ArtifactError(
                f"{self.path}: no memory for its workspace of {size / 1e6:.1f} MB"
            ) from e

    def _open(self) -> "deque[_Frame]":
        if self._frames is None:
            raise ArtifactError(f"{self.path} is closed; load it again")
        return self._frames

    def _mapped(self) -> Library:
        """The library, mapped when it is first needed: another machine's can be described here.

        Whoever calls into it holds this reference, so that ``close`` does not unmap it under them.
        """
        library = self._library
        if library is not None:
            return library
        with self._lock:
            self._open()
            if self._library is None:
                files.check_cpu(self.path, self.manifest)
                try:
                    self._library = Library(self.manifest["name"], self._content)
                except OSError as e:
                    raise ArtifactError(f"{self.path}: its library cannot be mapped: {e}") from e
                self._content = b""
            return self._library

    def _bytes(self) -> bytes:
        """The library's file."""
        with self._lock:
            self._open()
            return self._content if self._library is None else self._library.content

    def _checked(self, inputs: tuple[Any, ...]) -> list[NDArray[Any]]:
        wanted = self._inputs
        if len(inputs) != len(wanted):
            raise InputError(f"the network has {len(wanted)} inputs, got {len(inputs)}")
        return [t.checked(x) for t, x in zip(wanted, inputs, strict=True)]

    def _check_finite(self, arrays: Sequence[NDArray[Any]]) -> None:
        for tensor, array in zip(self._inputs, arrays, strict=True):
            tensor.check_finite(array)

    def _compute(
        self,
        arrays: Sequence[NDArray[Any]],
        results: list[NDArray[Any]],
        places: list[int],
        check_finite: bool,
    ) -> None:
        """Run on ``arrays`` into ``results``, which begin at ``places``."""
        library, frames = self._library or self._mapped(), self._frames
        if frames is None:
            frames = self._open()
        try:
            frame = frames.pop()
        except IndexError:
            steps = len(self.manifest["steps"])
            frame = _Frame(self.new_workspace(), len(arrays), len(results), steps)
        frame.pointers[:] = places  # type: ignore[assignment]
        run = library.run_checked if check_finite else library.run_steps
        code = run(*frame.arguments)
        frames.append(frame)
        if code:
            if code == HAS_NAN:
                self._check_finite(arrays)
            raise ArtifactError(f"{self.path}: a kernel returned {code}")

    def _run_steps(
        self, session: Session, first: int, last: int, seconds: NDArray[np.float64] | None
    ) -> None:
        library = self._mapped()
        inputs, outputs = pointers(session.inputs), pointers(session.outputs)
        code = library.run_steps(
            ctypes.c_void_p(ctypes.addressof(inputs)),
            ctypes.c_void_p(ctypes.addressof(outputs)),
            ctypes.c_void_p(address(session.workspace)),
            ctypes.c_int32(first),
            ctypes.c_int32(last),
            ctypes.c_void_p(None if seconds is None else address(seconds)),
        )
        if code:
            raise ArtifactError(f"{self.path}: a kernel returned {code}")

    def _new_outputs(self) -> list[NDArray[Any]]:
        try:
            return [np.empty(t.shape, t.dtype) for t in self._outputs]
        except MemoryError as e:
            raise ArtifactError(f"{self.path}: no memory for its outputs") from e

    def _given_outputs(self, out: Any, places: list[int]) -> list[NDArray[Any]]:
        """``out`` as a list, whose addresses are added to those of the inputs in ``places``."""
        results = list(out) if isinstance(out, (tuple, list)) else [out]
        if len(results) != len(self._outputs):
            raise InputError(
                f"the network has {len(self._outputs)} outputs, out has {len(results)}"
            )
        for tensor, result in zip(self._outputs, results, strict=True):
            at = tensor.quick(result) or tensor.out_address(result)
            end = at + tensor.bytes
            for place, size in zip(places, self._sizes, strict=False):
                if at < place + size and place < end:
                    raise InputError(f"out for {tensor.name} overlaps an input or another output")
            places.append(at)
        return results


def _restore(
    path: Path, manifest: dict[str, Any], content: bytes, size: int, threads: int
) -> Artifact:
    """A pickled artifact; its library is mapped when it is used."""
    artifact = Artifact(path, manifest, content, size)
    if threads > 1:
        artifact.set_threads(threads)
    return artifact


def check_threads(count: int) -> None:
    """Raise InputError for a number of threads below 1."""
    if count < 1:
        raise InputError(f"{count} threads; give at least 1")


def load(path: str | Path, *, run_here: bool = True) -> Artifact:
    """Load an artifact (folder or zip file).

    Everything is checked before the library is mapped. Raises ArtifactError for a missing,
    damaged or foreign artifact and for a CPU that lacks a feature; with ``run_here`` False those
    of another CPU can be loaded, and raise when they are run.
    """
    found = files.read(Path(path))
    artifact = Artifact(found.path, found.manifest, found.library, found.size)
    if run_here:
        artifact.check_runs_here()
    return artifact
