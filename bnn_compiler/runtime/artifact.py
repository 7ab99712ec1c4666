"""A compiled network, loaded: run it, profile it, read its manifest."""

import copy
import sys
from collections.abc import Sequence
from ctypes import addressof
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from bnn_compiler.closing import Closing
from bnn_compiler.errors import ArtifactError, InputError
from bnn_compiler.runtime import executors, files
from bnn_compiler.runtime.bounds import Bound, Peaks, bound
from bnn_compiler.runtime.cuda import CudaExecutor
from bnn_compiler.runtime.executor import Executor
from bnn_compiler.runtime.gpu import GpuRuns, GpuSession
from bnn_compiler.runtime.library import HAS_NAN, failure
from bnn_compiler.runtime.manifest import Manifest
from bnn_compiler.runtime.session import Session
from bnn_compiler.runtime.tensors import Tensor, address, first_byte, is_tensor

_Array, _empty = np.ndarray, np.empty


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


class Artifact(Closing):
    """A compiled network. Thread-safe: concurrent calls of ``run`` get a workspace each.

    ``with load(...) as net:`` or ``net.close()`` gives back its memory and its threads, as does the
    last reference that goes. It can be pickled, with its library; copies share the mapped library,
    and with it the number of threads.
    """

    def __init__(
        self,
        path: Path,
        manifest: dict[str, Any],
        description: Manifest,
        size: int,
        executor: Executor,
    ) -> None:
        self.path = path
        #: As it is stored, a JSON object.
        self.manifest = manifest
        #: The same with types.
        self.description = description
        #: Bytes on disk.
        self.size_bytes = size
        #: What runs it.
        self.executor = executor
        programs = description.programs
        self._batched = _batched(programs)
        #: The same network for other batch sizes.
        self._others = {self._size(p): self._part(p) for p in programs[1:]}
        self._inputs = tuple(Tensor.of(t) for t in description.inputs)
        self._outputs = tuple(Tensor.of(t) for t in description.outputs)
        self._made = tuple((t.shape, t.dtype) for t in self._outputs)
        self._sizes = tuple(t.bytes for t in (*self._inputs, *self._outputs))
        self._gpu: GpuRuns | None = None
        if isinstance(executor, CudaExecutor):
            self._gpu = GpuRuns(executor, self._inputs, self._outputs)

    @property
    def batches(self) -> tuple[int, ...]:
        """The batch sizes that it holds; the first is the one it describes."""
        return self._size(self.description), *self._others

    def at(self, batch: int) -> "Artifact":
        """The network for a batch size as an artifact of its own, of the same library and threads.

        Raises InputError, listing those that there are, for another.
        """
        if batch == self._size(self.description):
            return self
        if batch not in self._others:
            raise InputError(f"a batch of {batch}; this artifact holds {_sizes(self.batches)}")
        return self._others[batch]

    def batch_of(self, inputs: Sequence[Any]) -> int:
        """The batch size of ``inputs``; of an artifact that holds one, that one."""
        if not self._others:
            return self._size(self.description)
        shape = np.shape(inputs[self._batched]) if self._batched < len(inputs) else ()
        if not shape:
            raise InputError(f"the network has {len(self._inputs)} inputs with a batch in front")
        return int(shape[0])

    @property
    def threads(self) -> int:
        """The number of threads in force."""
        return self.executor.threads

    @property
    def gpu(self) -> str:
        """The name of the GPU that it runs on; empty on a CPU."""
        return "" if self._gpu is None else self._gpu.executor.network().gpu

    def check_runs_here(self) -> None:
        """Raise ArtifactError if it is closed, or this CPU or the loader refuses its library."""
        self.executor.prepare()

    def set_threads(self, count: int) -> int:
        """Use ``count`` threads; the number in force. Raises InputError below 1."""
        if count < 1:
            raise InputError(f"{count} threads; give at least 1")
        return self.executor.set_threads(count)

    def run(
        self, *inputs: Any, check_finite: bool = True, out: Any = None, stream: object = None
    ) -> Any:
        """One result, or a tuple: numpy in, numpy out; torch in, torch out.

        ``out``, a float32 array or a tuple of one for each output, gets the results, and is what is
        returned. Raises InputError for a wrong number, shape or dtype, for a NaN, which has no sign
        bit, and for an ``out`` that overlaps an input or another; ArtifactError once it is closed.

        A network on a GPU takes and gives arrays of that GPU too, without a copy, in ``stream`` or
        else in the caller's (docs/cuda.md). If all are there, this does not wait for the run, nor
        look for NaNs.
        """
        if self._gpu is not None:
            return self._gpu.run(self._gpu.executor.run_in, inputs, check_finite, out, stream)
        if stream is not None:
            raise InputError("stream is for networks on a GPU; this one runs on a CPU")
        # Written out: calls of functions would take a good part of the time of a small network.
        wanted = self._inputs
        places = []
        for tensor, value in zip(wanted, inputs):  # noqa: B905
            places.append(tensor.quick(value))
        if 0 in places or len(inputs) != len(wanted):
            if self._others and self.batch_of(inputs) in self._others:
                part = self._others[self.batch_of(inputs)]
                return part.run(*inputs, check_finite=check_finite, out=out)
            held = self._checked(inputs)
            places = [address(a) for a in held]
        results: Sequence[Any]
        if out is None:
            results = self._make(places)
        else:
            results = out if isinstance(out, (tuple, list)) else (out,)
            self._place(results, places)
        code = self.executor.run(places, check_finite)
        if code:
            if code == HAS_NAN:
                self._check_finite(self._checked(inputs))
            raise self._failed(code)
        if out is None and inputs and type(inputs[0]) is not _Array and is_tensor(inputs[0]):
            torch = sys.modules["torch"]
            results = [torch.from_numpy(r) for r in results]
        return results[0] if len(results) == 1 else tuple(results)

    def session(self, stream: object = None) -> GpuSession:
        """Memory of its own for runs in a stream of their own, beside those of other sessions.

        Raises InputError for a network on a CPU, whose ``run`` is as concurrent as its callers.
        """
        if self._gpu is None:
            raise InputError("sessions are for streams of a GPU; on a CPU call run in threads")
        return GpuSession(self._gpu, self.path, stream)

    def profile(self, *inputs: Any, repeat: int = 20) -> list[LayerProfile]:
        """Time every kernel call: the median and minimum of ``repeat`` runs after two warm-ups."""
        if repeat < 1:
            raise InputError(f"repeat {repeat}; give at least 1")
        part = self.at(self.batch_of(inputs))
        if part is not self:
            return part.profile(*inputs, repeat=repeat)
        session = Session(self)
        session.inputs = self._checked(inputs)
        self._check_finite(session.inputs)
        steps = self.description.steps
        runs = []
        for _ in range(repeat + 2):
            seconds = np.zeros(len(steps))
            session.run(0, len(steps), seconds)
            runs.append(seconds)
        table = np.array(runs[2:])
        return [
            LayerProfile(
                s.name,
                s.op,
                float(np.median(table[:, i])),
                float(table[:, i].min()),
                s.macs,
                s.binary,
                list(s.fused),
                s.source,
                s.bytes_read,
                s.bytes_written,
                s.bytes_weights,
                float_ratio=s.float_ratio,
                products=s.products,
            )
            for i, s in enumerate(steps)
        ]

    def close(self) -> None:
        """Give everything back, once the runs in progress in other threads have ended.

        Any further use raises ArtifactError.
        """
        for part in self._others.values():
            part.executor.close()
        self.executor.close()

    def __reduce__(self) -> tuple[Any, ...]:
        parts = (self.path, self.manifest, self.description, self.size_bytes, self.executor)
        return type(self), parts

    def __copy__(self) -> Self:
        kept = (self.path, self.manifest, self.description, self.size_bytes)
        return type(self)(*kept, copy.copy(self.executor))

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        other = copy.copy(self)
        other.manifest = copy.deepcopy(self.manifest, memo)
        return other

    def _size(self, program: Manifest) -> int:
        shape = program.inputs[self._batched].shape if program.inputs else ()
        return shape[0] if shape else 1

    def _part(self, program: Manifest) -> "Artifact":
        """The program of another batch size."""
        executor = executors.part(self.executor, program)
        return Artifact(self.path, program.as_json(), program, self.size_bytes, executor)

    def _checked(self, inputs: tuple[Any, ...]) -> list[NDArray[Any]]:
        wanted = self._inputs
        if len(inputs) != len(wanted):
            raise InputError(f"the network has {len(wanted)} inputs, got {len(inputs)}")
        if self._others:
            self.at(self.batch_of(inputs))
        return [t.checked(x) for t, x in zip(wanted, inputs, strict=True)]

    def _check_finite(self, arrays: Sequence[NDArray[Any]]) -> None:
        for tensor, array in zip(self._inputs, arrays, strict=True):
            tensor.check_finite(array)

    def _failed(self, code: int) -> ArtifactError:
        return failure(self.path, code)

    def _make(self, places: list[int]) -> list[NDArray[Any]]:
        """New results; their addresses are added to ``places``."""
        made = []
        try:
            for shape, dtype in self._made:
                result = _empty(shape, dtype)
                made.append(result)
                places.append(addressof(first_byte(result)))
        except MemoryError as e:
            raise ArtifactError(f"{self.path}: no memory for its outputs") from e
        return made

    def _place(self, results: Sequence[Any], places: list[int]) -> None:
        """Add the addresses of the given ``results`` to those of the inputs in ``places``."""
        outputs, sizes = self._outputs, self._sizes
        if len(results) != len(outputs):
            raise InputError(f"the network has {len(outputs)} outputs, out has {len(results)}")
        for tensor, result in zip(outputs, results):  # noqa: B905
            at = (type(result) is _Array and tensor.quick(result)) or tensor.out_address(result)
            end = at + tensor.bytes
            for place, size in zip(places, sizes):  # noqa: B905
                if at < place + size and place < end:
                    raise InputError(f"out for {tensor.name} overlaps an input or another output")
            places.append(at)


def _batched(programs: Sequence[Manifest]) -> int:
    """Which input tells the batch sizes apart."""
    first = programs[0].inputs
    for i, tensor in enumerate(first):
        if any(p.inputs[i].shape != tensor.shape for p in programs):
            return i
    return 0


def _sizes(batches: Sequence[int]) -> str:
    """ "1, 8 and 32" """
    *most, last = map(str, batches)
    return f"{', '.join(most)} and {last}" if most else last


def load(path: str | Path, *, run_here: bool = True, device: int | None = None) -> Artifact:
    """Load an artifact (folder or zip file).

    Everything is checked before the library is mapped. Raises ArtifactError for a missing,
    damaged or foreign artifact and for a CPU that lacks a feature; with ``run_here`` False those
    of another CPU can be loaded, and raise when they are run. ``device`` is the number of a GPU;
    None takes the one whose context is current in this thread, or else the first.
    """
    found = files.read(Path(path))
    executor = executors.of(found, device)
    artifact = Artifact(found.path, found.manifest, found.description, found.size, executor)
    if run_here:
        artifact.check_runs_here()
    return artifact
