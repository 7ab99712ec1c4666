"""A compiled network, loaded: run it, profile it, read its manifest."""

import ctypes
import sys
import tempfile
import threading
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bnn_compiler.errors import ArtifactError, InputError
from bnn_compiler.runtime import files
from bnn_compiler.runtime.bounds import Bound, Peaks, bound
from bnn_compiler.runtime.session import Session, pointers


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


class Artifact:
    """Thread-safe: concurrent calls of ``run`` get a workspace each."""

    def __init__(self, path: Path, manifest: dict[str, Any], library: bytes) -> None:
        self.path = path
        self.manifest = manifest
        self.threads = 1
        self._library = library
        self._sessions: list[Session] = []
        self._lock = threading.Lock()
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    @cached_property
    def _code(self) -> ctypes.CDLL:
        """The library, mapped when it is first needed: another machine's can be described here."""
        files.check_cpu(self.path, self.manifest)
        self._folder = tempfile.TemporaryDirectory(prefix="bnn-")
        name = self.manifest["name"]
        shared = Path(self._folder.name) / f"{name}.so"
        try:
            shared.write_bytes(self._library)
            code = ctypes.CDLL(str(shared))
            steps = code[f"{name}_run_steps"]
            code[f"{name}_set_threads"]
        except (OSError, AttributeError) as e:
            raise ArtifactError(f"{self.path}: its library cannot be mapped: {e}") from e
        steps.argtypes = [ctypes.c_void_p] * 3 + [ctypes.c_int32] * 2 + [ctypes.c_void_p]
        steps.restype = ctypes.c_int32
        self._steps = steps
        return code

    def check_runs_here(self) -> None:
        """Raise ArtifactError if this CPU cannot run it or the library cannot be mapped."""
        assert self._code is not None

    @property
    def size_bytes(self) -> int:
        """Bytes on disk."""
        if self.path.is_dir():
            return sum(p.stat().st_size for p in self.path.iterdir())
        return self.path.stat().st_size

    def set_threads(self, count: int) -> int:
        """Use ``count`` threads; the number in force. Raises InputError below 1."""
        if count < 1:
            raise InputError(f"{count} threads; give at least 1")
        set_threads = self._code[f"{self.manifest['name']}_set_threads"]
        self.threads = int(set_threads(ctypes.c_int32(count)))
        return self.threads

    def run(self, *inputs: Any, check_finite: bool = True) -> Any:
        """One result, or a tuple: numpy in, numpy out; torch in, torch out.

        Raises InputError for a wrong number, shape or dtype, or a NaN, which has no sign bit.
        """
        arrays = self._arrays(inputs, check_finite)
        session = self._take()
        try:
            for i, array in enumerate(arrays):
                session.inputs[i] = array
            session.outputs = [np.empty(t["shape"], np.float32) for t in self.manifest["outputs"]]
            session.run(0, len(self.manifest["steps"]))
            results: list[Any] = list(session.outputs)
        finally:
            with self._lock:
                self._sessions.append(session)
        torch = sys.modules.get("torch")
        if torch is not None and inputs and isinstance(inputs[0], torch.Tensor):
            results = [torch.from_numpy(r) for r in results]
        return results[0] if len(results) == 1 else tuple(results)

    def profile(self, *inputs: Any, repeat: int = 20) -> list[LayerProfile]:
        """Time every kernel call: the median and minimum of ``repeat`` runs after two warm-ups."""
        if repeat < 1:
            raise InputError(f"repeat {repeat}; give at least 1")
        session = Session(self)
        session.inputs = self._arrays(inputs, True)
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
        """Remove the extracted library; the artifact must not be used any more."""
        if self._folder is not None:
            self._folder.cleanup()

    def __enter__(self) -> "Artifact":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _take(self) -> Session:
        with self._lock:
            return self._sessions.pop() if self._sessions else Session(self)

    def _run_steps(
        self, session: Session, first: int, last: int, seconds: NDArray[np.float64] | None
    ) -> None:
        self.check_runs_here()
        code = self._steps(
            pointers(session.inputs),
            pointers(session.outputs),
            session.workspace.ctypes.data,
            first,
            last,
            None if seconds is None else seconds.ctypes.data,
        )
        if code:
            raise ArtifactError(f"{self.path}: a kernel returned {code}")

    def _arrays(self, inputs: tuple[Any, ...], check_finite: bool) -> list[NDArray[Any]]:
        wanted = self.manifest["inputs"]
        if len(inputs) != len(wanted):
            raise InputError(f"the network has {len(wanted)} inputs, got {len(inputs)}")
        return [_array(x, t, check_finite) for x, t in zip(inputs, wanted, strict=True)]


def _array(value: Any, wanted: dict[str, Any], check_finite: bool) -> NDArray[Any]:
    name, shape, dtype = wanted["name"], wanted["shape"], wanted["dtype"]
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(value, torch.Tensor):
        value = value.detach().cpu().numpy()
    if not isinstance(value, np.ndarray):
        raise InputError(f"input {name} is a {type(value).__name__}; give a numpy array or tensor")
    if value.dtype != np.dtype(dtype):
        raise InputError(
            f"input {name} is {value.dtype}, compiled for {dtype}; convert it, or compile with"
            f" input_dtype={str(value.dtype)!r} if that is float32 or uint8"
        )
    if list(value.shape) != shape:
        raise InputError(
            f"input {name} has shape {list(value.shape)}, compiled for {shape}; the batch size is"
            " fixed at compile time"
        )
    array = np.ascontiguousarray(value)
    # The minimum is NaN if anything is, and several times faster than looking at each element.
    if check_finite and array.dtype.kind == "f" and np.isnan(array.min()):
        first = tuple(int(i) for i in np.argwhere(np.isnan(array))[0])
        raise InputError(f"input {name} is NaN at {list(first)}, and a NaN has no sign")
    return array


def load(path: str | Path, *, run_here: bool = True) -> Artifact:
    """Load an artifact (folder or zip file).

    Everything is checked before the library is mapped. Raises ArtifactError for a missing,
    damaged or foreign artifact and for a CPU that lacks a feature; with ``run_here`` False those
    of another CPU can be loaded, and raise when they are run.
    """
    path = Path(path)
    manifest, members = files.read(path)
    library = members.get(f"{manifest['name']}.so")
    if library is None:
        raise ArtifactError(f"{path} holds no {manifest['name']}.so")
    artifact = Artifact(path, manifest, library)
    if run_here:
        artifact.check_runs_here()
    return artifact
