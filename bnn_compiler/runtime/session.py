"""Step-by-step execution with every buffer of the arena readable and writable."""

import ctypes
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bnn_compiler.runtime.tensors import address

if TYPE_CHECKING:
    from bnn_compiler.runtime.artifact import Artifact

ALIGN = 64


def aligned(size: int) -> NDArray[np.uint8]:
    """``size`` zeroed bytes, aligned to 64."""
    memory = np.zeros(size + ALIGN, np.uint8)
    start = -address(memory) % ALIGN
    return memory[start : start + size]


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

    def __init__(self, artifact: "Artifact") -> None:
        self._artifact = artifact
        self._buffers = {b["id"]: b for b in artifact.manifest["buffers"]}
        self.workspace = artifact.new_workspace()
        self.inputs = [np.zeros(t["shape"], t["dtype"]) for t in artifact.manifest["inputs"]]
        self.outputs = [np.zeros(t["shape"], np.float32) for t in artifact.manifest["outputs"]]

    def run(self, first: int, last: int, seconds: NDArray[np.float64] | None = None) -> None:
        """Run steps first..last-1; ``seconds[i]`` grows by the time of step i."""
        self._artifact._run_steps(self, first, last, seconds)

    def _view(self, identifier: int) -> tuple[dict[str, Any], NDArray[Any]]:
        buffer = self._buffers[identifier]
        assert buffer["kind"] == "arena", "inputs and outputs are plain arrays"
        raw = self.workspace[buffer["offset"] : buffer["offset"] + buffer["bytes"]]
        stored = raw.view(buffer["dtype"]).reshape(buffer["physical"])
        top, left, _, _ = buffer["halo"]
        _, h, w, _ = buffer["shape"]
        return buffer, stored[:, top : top + h, left : left + w]

    def read_buffer(self, identifier: int) -> NDArray[Any]:
        """The logical tensor [N, H, W, C]: float32, or int8 -1/+1 for bits."""
        buffer, inside = self._view(identifier)
        channels = buffer["shape"][3]
        if buffer["dtype"] == "uint32":
            return unpack_bits(inside, channels)
        return inside[..., :channels].copy()

    def write_buffer(self, identifier: int, value: NDArray[Any]) -> None:
        """Store a logical tensor and the halo that its readers expect."""
        buffer, inside = self._view(identifier)
        if buffer["dtype"] == "uint32":
            raw = self.workspace[buffer["offset"] : buffer["offset"] + buffer["bytes"]]
            raw.view(np.uint32).reshape(buffer["physical"])[:] = pack_bits(
                np.full(buffer["shape"][3], 1 if buffer["fill"] else -1)
            )
            inside[:] = pack_bits(value)
        else:
            raw = self.workspace[buffer["offset"] : buffer["offset"] + buffer["bytes"]]
            raw[:] = 0
            inside[..., : buffer["shape"][3]] = value


def pointers(arrays: Sequence[NDArray[Any]]) -> Any:
    """A C array of the arrays' addresses."""
    return (ctypes.c_void_p * len(arrays))(*map(address, arrays))
