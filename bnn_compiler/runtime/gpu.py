"""Runs of a network on a GPU, with arrays of the host or of the GPU."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bnn_compiler.closing import Closing
from bnn_compiler.errors import InputError
from bnn_compiler.runtime.arrays import (
    DEFAULT_STREAM,
    Foreign,
    GpuArray,
    foreign,
    handle_of,
    on_gpu,
    stream_of,
)
from bnn_compiler.runtime.cuda import CudaExecutor, Space
from bnn_compiler.runtime.executor import closed
from bnn_compiler.runtime.library import HAS_NAN
from bnn_compiler.runtime.tensors import Tensor, address, is_tensor

#: A run of places: (places, check_finite, stream) -> 0 or HAS_NAN. No stream: one of its own.
Run = Callable[[Sequence[int], bool, int | None], int]


class GpuRuns:
    """What ``Artifact.run`` does for a network on a GPU."""

    def __init__(
        self, executor: CudaExecutor, inputs: tuple[Tensor, ...], outputs: tuple[Tensor, ...]
    ) -> None:
        self.executor = executor
        self._inputs, self._outputs = inputs, outputs

    def run(
        self, run: Run, inputs: Sequence[Any], check_finite: bool, out: Any, stream: object
    ) -> Any:
        """One result, or a tuple of them; see ``Artifact.run``."""
        given = self._counted(inputs, out)
        there = [v for v in (*inputs, *given) if on_gpu(v)]
        handle = None
        if stream is not None:
            handle = handle_of(stream)
        elif there:
            handle = stream_of(there)
        used = DEFAULT_STREAM if handle is None else handle
        held: list[object] = []
        spans = [_input(t, v, used, held) for t, v in zip(self._inputs, inputs, strict=True)]
        results = list(given) if out is not None else self._made(inputs, used)
        for tensor, value in zip(self._outputs, results, strict=True):
            at = _output(tensor, value, used, held)
            if out is not None and any(at < p + n and p < at + tensor.bytes for p, n in spans):
                raise InputError(f"out for {tensor.name} overlaps an input or another output")
            spans.append((at, tensor.bytes))
        self._wait_for(held, used)
        if run([at for at, _ in spans], check_finite, handle) == HAS_NAN:
            self._check_finite(inputs)
        if out is None and is_tensor(inputs[0]) and not on_gpu(inputs[0]):
            torch = sys.modules["torch"]
            results = [torch.from_numpy(r) for r in results]
        return results[0] if len(results) == 1 else tuple(results)

    def _counted(self, inputs: Sequence[Any], out: Any) -> Sequence[Any]:
        """``out`` as a sequence. Raises InputError for a wrong number of arrays."""
        if len(inputs) != len(self._inputs):
            raise InputError(f"the network has {len(self._inputs)} inputs, got {len(inputs)}")
        if out is None:
            return ()
        given = out if isinstance(out, (tuple, list)) else (out,)
        if len(given) != len(self._outputs):
            raise InputError(f"the network has {len(self._outputs)} outputs, out has {len(given)}")
        return given

    def _wait_for(self, held: Sequence[object], used: int) -> None:
        """Until arrays are there that were made in another stream, and say so, than ``used``."""
        streams = {v.stream for v in held if isinstance(v, Foreign) and v.stream is not None}
        for stream in streams - {used or DEFAULT_STREAM}:
            self.executor.network().wait_for(stream)

    def _check_finite(self, inputs: Sequence[Any]) -> None:
        """Raise InputError for the NaN in an input of the host."""
        for tensor, value in zip(self._inputs, inputs, strict=True):
            if not on_gpu(value):
                tensor.check_finite(tensor.checked(value))

    def _made(self, inputs: Sequence[Any], stream: int) -> list[Any]:
        """New outputs, like the first input that lies on the GPU, or else numpy's."""
        first = next((v for v in inputs if on_gpu(v)), None)
        if first is None:
            return [np.empty(t.shape, t.dtype) for t in self._outputs]
        if is_tensor(first):
            torch = sys.modules["torch"]
            return [
                torch.empty(t.shape, dtype=getattr(torch, str(t.dtype)), device=first.device)
                for t in self._outputs
            ]
        network = self.executor.network()
        return [GpuArray(network, t.shape, t.dtype, stream) for t in self._outputs]


class GpuSession(Closing):
    """A workspace of its own for runs that follow each other, beside those of other sessions.

    Made by ``Artifact.session``; ``stream`` is that of its runs where they do not name one.
    """

    def __init__(self, runs: GpuRuns, path: Path, stream: object = None) -> None:
        self._runs, self._path, self._stream = runs, path, stream
        self._space: Space | None = runs.executor.new_workspace()

    def run(
        self, *inputs: Any, check_finite: bool = True, out: Any = None, stream: object = None
    ) -> Any:
        """As ``Artifact.run``."""
        chosen = self._stream if stream is None else stream
        return self._runs.run(self._run, inputs, check_finite, out, chosen)

    def wait(self) -> None:
        """Until its runs have ended. Raises ArtifactError if one failed."""
        self._open().wait()

    def close(self) -> None:
        """Give its memory back, once its runs have ended."""
        self._space = None

    def _run(self, places: Sequence[int], check_finite: bool, stream: int | None) -> int:
        space = self._open()
        return space.run(places, check_finite, space.stream if stream is None else stream)

    def _open(self) -> Space:
        if self._space is None:
            raise closed(self._path)
        return self._space


def _input(tensor: Tensor, value: Any, stream: int, held: list[object]) -> tuple[int, int]:
    """Where an input lies, and its bytes."""
    if on_gpu(value):
        found = foreign(value, f"input {tensor.name}", stream)
        held.append(found)
        return found.checked(tensor, "input"), tensor.bytes
    array: NDArray[Any] = tensor.checked(value)
    held.append(array)
    return address(array), tensor.bytes


def _output(tensor: Tensor, value: Any, stream: int, held: list[object]) -> int:
    """Where a result is to be written."""
    if not on_gpu(value):
        return tensor.out_address(value)
    found = foreign(value, f"out for {tensor.name}", stream)
    held.append(found)
    return found.checked(tensor, "out for")
