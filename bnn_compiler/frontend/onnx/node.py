"""One operator of an ONNX graph, as its translation sees it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from bnn_compiler.errors import ModelError, UnsupportedError

#: What a translation returns: one tensor for each output, as many as anybody may read.
Results = torch.Tensor | tuple[torch.Tensor, ...]


@dataclass(frozen=True)
class Node:
    """``constants`` are those of the inputs that are known, None for the others.

    ``attributes`` are numbers, strings, lists of them, and tensors as arrays. ``opset`` is the
    version of the operator's ``domain`` ("" is ONNX's own).
    """

    name: str
    operator: str
    domain: str
    opset: int
    attributes: Mapping[str, Any]
    constants: Sequence[NDArray[Any] | None] = ()
    inputs: Sequence[str] = ()
    outputs: Sequence[str] = field(default=("",))

    def attr(self, name: str, default: Any = None) -> Any:
        """An attribute, or its default."""
        return self.attributes.get(name, default)

    def text(self, name: str, default: str) -> str:
        """An attribute that is a string."""
        value = self.attr(name, default)
        return value.decode() if isinstance(value, bytes) else str(value)

    def has(self, position: int) -> bool:
        """Whether there is an input at ``position``: optional ones are left out or ""."""
        return position < len(self.inputs) and self.inputs[position] != ""

    def constant(self, position: int, what: str) -> NDArray[Any]:
        """The value of an input. Raises UnsupportedError for a computed one."""
        value = self.constants[position] if position < len(self.constants) else None
        if value is None:
            raise self.fail(f"its {what} is computed at run time; only a constant can be compiled")
        return value

    def integers(self, position: int, what: str) -> list[int]:
        """The numbers of a constant input. Raises UnsupportedError for a computed one."""
        return [int(v) for v in self.constant(position, what).reshape(-1)]

    def known(self, position: int) -> float | None:
        """The number that a constant input of one element is; None for any other."""
        value = self.constants[position] if position < len(self.constants) else None
        return None if value is None or value.size != 1 else value.reshape(-1)[0].item()

    def axes(self, position: int = 1) -> list[int] | None:
        """Its axes, an attribute in old versions and an input in new ones; None without."""
        if "axes" in self.attributes:
            return [int(v) for v in self.attributes["axes"]]
        return self.integers(position, "axes") if self.has(position) else None

    @property
    def title(self) -> str:
        """ "Conv of 'layer1.conv' (opset 17)" """
        domain = f"{self.domain}." if self.domain else ""
        version = f"version {self.opset} of {self.domain}" if self.domain else f"opset {self.opset}"
        return f"{domain}{self.operator} of node {self.name!r} ({version})"

    def fail(self, why: str) -> UnsupportedError:
        """The error of a form that cannot be compiled."""
        return UnsupportedError(f"{self.title}: {why}")

    def wrong(self, why: str) -> ModelError:
        """The error of a node that is not what ONNX says it is."""
        return ModelError(f"{self.title}: {why}")


def scalar(node: Node, position: int, tensor: torch.Tensor, rank: int) -> Any:
    """A constant of one element as a number, if that leaves shapes as they are; else ``tensor``."""
    number = node.known(position)
    small = tensor.dim() <= rank and tensor.dtype in (torch.float32, torch.int64)
    return number if number is not None and small else tensor


def array(values: Any) -> NDArray[Any]:
    """Numbers for an index: int64."""
    return np.asarray(values, dtype=np.int64)
