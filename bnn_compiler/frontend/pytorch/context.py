"""What a converter is given beside its operator's arguments, and the forms of those."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.fx import Node

from bnn_compiler.errors import UnsupportedError
from bnn_compiler.frontend import general
from bnn_compiler.frontend.builder import Builder
from bnn_compiler.frontend.pytorch.trace import TracedGraph
from bnn_compiler.frontend.value import Value


class Context:
    """``node`` is the operator at hand; ``env`` has the value of each before it."""

    def __init__(self, traced: TracedGraph) -> None:
        self.builder = Builder({i.name: i.shape for i in traced.inputs})
        #: A list where an operator has several results.
        self.env: dict[Node, Value | list[Value]] = {}
        self.node: Node
        self._constants = traced.constants

    def fail(self, why: str) -> UnsupportedError:
        """The error for the current node."""
        return self.builder.fail(why)

    def constant(self, node: Any) -> NDArray[Any] | None:
        """The numpy value of a constant node or Python number, None for anything computed."""
        if isinstance(node, int | float):
            return np.asarray(node, np.float32)
        if isinstance(node, Node) and node.op == "get_attr":
            tensor = self._constants[str(node.target)].detach()
            self._check_exact(tensor)
            return tensor.float().numpy()
        return None

    def _check_exact(self, tensor: torch.Tensor) -> None:
        """Raise UnsupportedError for an integer that float32 does not hold, but for the largest,
        which stands for infinity.
        """
        if tensor.dtype not in (torch.int32, torch.int64):
            return
        kept = (tensor.float().long() == tensor) | (tensor == torch.iinfo(tensor.dtype).max)
        lost = tensor[~kept]
        if lost.numel():
            raise self.fail(f"the integer {int(lost[0])}, which float32 does not hold")

    def data(self, node: Any) -> Value:
        """The value of a computed node, in the form that the builder's own operators take.

        Raises UnsupportedError for a constant, or a tensor of another rank.
        """
        return general.image(self.builder, self.any(node))

    def any(self, node: Any) -> Value:
        """The value of a computed node as it is. Raises UnsupportedError for a constant."""
        found = self.env.get(node) if isinstance(node, Node) else None
        if isinstance(found, Value):
            return found
        raise self.fail("needs a computed tensor here, not a constant")

    def plain(self, node: Any) -> general.Operand:
        """A computed value as a plain one, a constant, or a number."""
        constant = self.constant(node)
        if constant is None:
            return general.plain(self.builder, self.any(node))
        return constant if isinstance(node, Node) else float(constant)

    def tensor(self, node: Any) -> Value:
        """A computed value as a plain one. Raises UnsupportedError for a constant."""
        return general.plain(self.builder, self.any(node))

    def call(self, op: str, *operands: general.Operand, params: Sequence[Any] = ()) -> Value:
        """A primitive (ops/primitives.py) of plain values."""
        return general.call(self.builder, op, operands, *params)

    def rank(self, node: Any) -> int:
        """Of a computed node."""
        return len(self.any(node).shape)

    def axes(self, node: Any, dims: Any) -> tuple[int, ...]:
        """Dimensions of a computed node counted from 0, in order; None or () are all."""
        n = self.rank(node)
        listed = range(n) if dims is None else dims if isinstance(dims, list | tuple) else [dims]
        return tuple(sorted(int(d) % n for d in (listed or range(n))))

    def operand(self, node: Any) -> Value | NDArray[Any]:
        """Either of the two; beside images of one row, a constant has a dimension for it."""
        constant = self.constant(node)
        if constant is None:
            return self.data(node)
        value = self.node.meta.get("val")
        rows = value is not None and value.dim() == 3 and constant.ndim > 1
        return np.expand_dims(constant, -2) if rows else constant


def pair(value: Any) -> list[int]:
    """One number or two as (height, width)."""
    numbers = [int(v) for v in value] if isinstance(value, list | tuple) else [int(value)]
    return numbers * 2 if len(numbers) == 1 else numbers


def row_pair(value: Any, beside: int) -> list[int]:
    """A number of a row as (height, width); ``beside`` is the height's."""
    (number,) = value if isinstance(value, list | tuple) else [value]
    return [beside, int(number)]
