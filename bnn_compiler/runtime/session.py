"""Step-by-step execution with every buffer of the arena readable and writable."""

from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from bnn_compiler.runtime.executor import Executor
from bnn_compiler.runtime.library import failure
from bnn_compiler.runtime.manifest import BufferEntry, Manifest
from bnn_compiler.runtime.tensors import address


class Loaded(Protocol):
    """An artifact, as a session sees it."""

    @property
    def path(self) -> Path:
        """Where it was read."""

    @property
    def description(self) -> Manifest:
        """Its manifest."""

    @property
    def executor(self) -> Executor:
        """What runs it."""


def pack_bits(signs: NDArray[Any]) -> NDArray[np.uint32]:
    """[..., C] of -1/+1 (or booleans) -> [..., ceil(C/32)] words; channel c is bit c % 32."""
    channels = signs.shape[-1]
    bits = np.zeros((*signs.shape[:-1], -(-channels // 32) * 32), bool)
    bits[..., :channels] = signs > 0
    return np.packbits(bits, axis=-1, bitorder="little").view(np.uint32)


def unpack_bits(words: NDArray[np.uint32], channels: int) -> NDArray[np.int8]:
    """The inverse: int8 -1/+1 [..., C]."""
    data = np.ascontiguousarray(words).view(np.uint8)
    bits = np.unpackbits(data, axis=-1, bitorder="little")[..., :channels]
    return np.where(bits == 1, 1, -1).astype(np.int8)


class Session:
    """One workspace and one set of inputs and outputs of an artifact.

    Raises ArtifactError if the artifact is closed or there is no memory for the workspace.
    """

    def __init__(self, artifact: Loaded) -> None:
        self._artifact = artifact
        self._executor = artifact.executor
        described = artifact.description
        self._buffers = {b.id: b for b in described.buffers}
        self.workspace = self._executor.new_workspace()
        self.inputs = [np.zeros(t.shape, t.dtype) for t in described.inputs]
        self.outputs = [np.zeros(t.shape, t.dtype) for t in described.outputs]

    def run(self, first: int, last: int, seconds: NDArray[np.float64] | None = None) -> None:
        """Run steps first..last-1; ``seconds[i]`` grows by the time of step i."""
        places = [address(a) for a in (*self.inputs, *self.outputs)]
        code = self._executor.run_steps(self.workspace, places, first, last, seconds)
        if code:
            raise failure(self._artifact.path, code)

    def read_buffer(self, identifier: int) -> NDArray[Any]:
        """The logical tensor [N, H, W, C]: float32, or int8 -1/+1 for bits."""
        buffer = self._arena(identifier)
        raw = self._executor.read(self.workspace, buffer.offset, buffer.bytes)
        inside = _inside(buffer, raw.view(buffer.dtype).reshape(buffer.physical))
        channels = buffer.shape[3]
        if buffer.dtype == "uint32":
            return unpack_bits(inside, channels)
        return inside[..., :channels].copy()

    def write_buffer(self, identifier: int, value: NDArray[Any]) -> None:
        """Store a logical tensor and the halo that its readers expect."""
        buffer = self._arena(identifier)
        stored = np.zeros(buffer.physical, buffer.dtype)
        channels = buffer.shape[3]
        if buffer.dtype == "uint32":
            stored[:] = pack_bits(np.full(channels, 1 if buffer.fill else -1))
            _inside(buffer, stored)[:] = pack_bits(value)
        else:
            # A plain tensor is kept as [1, 1, 1, size], in whatever shape it is.
            _inside(buffer, stored)[..., :channels] = value.reshape(buffer.shape)
        self._executor.write(self.workspace, buffer.offset, stored.reshape(-1).view(np.uint8))

    def _arena(self, identifier: int) -> BufferEntry:
        buffer = self._buffers[identifier]
        assert buffer.kind == "arena", "inputs and outputs are plain arrays"
        return buffer


def _inside(buffer: BufferEntry, stored: NDArray[Any]) -> NDArray[Any]:
    """``stored`` without its halo."""
    top, left, _, _ = buffer.halo
    _, h, w, _ = buffer.shape
    return stored[:, top : top + h, left : left + w]
