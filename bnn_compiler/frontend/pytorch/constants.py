"""The constants of a graph, and the numbers that some of its nodes stand for."""

from typing import Any

import torch
from torch.fx import Graph, Node

from bnn_compiler.frontend.pytorch.trace import op_name

#: Operators whose result is one number, whatever the values of their tensor arguments.
_FILLED = {
    "ones_like": 1.0,
    "ones": 1.0,
    "new_ones": 1.0,
    "zeros_like": 0.0,
    "zeros": 0.0,
    "new_zeros": 0.0,
}
#: The same, with the position of the number.
_FILLED_BY = {"full_like": 1, "full": 1, "new_full": 2, "scalar_tensor": 0}
#: Operators that hand on the numbers of their first argument.
_MOVES = ("to", "_to_copy", "expand", "expand_as", "lift_fresh_copy", "view", "reshape")


class Constants:
    """``tensors`` are those of the get_attr nodes of ``graph``, by name."""

    def __init__(self, graph: Graph, tensors: dict[str, torch.Tensor]) -> None:
        self.graph, self.tensors = graph, tensors

    def tensor(self, value: Any) -> torch.Tensor | None:
        """The tensor of a get_attr node; None for anything else."""
        if isinstance(value, Node) and value.op == "get_attr":
            return self.tensors[str(value.target)].detach()
        return None

    def number(self, value: Any) -> float | None:
        """The number that a Python scalar is, or that every element of a tensor node is."""
        if isinstance(value, int | float):
            return float(value)
        known = self.tensor(value)
        if known is not None:
            first = known.flatten()[:1]
            uniform = known.numel() > 0 and not known.is_complex() and bool((known == first).all())
            return float(first) if uniform else None
        name = op_name(value)
        if name in _FILLED:
            return _FILLED[name]
        if name in _FILLED_BY:
            return self._rounded(value, self.number(value.args[_FILLED_BY[name]]))
        if name == "neg":
            inner = self.number(value.args[0])
            return None if inner is None else -inner
        if name == "mul":
            parts = [self.number(a) for a in value.args]
            return None if None in parts else parts[0] * parts[1]  # type: ignore[operator]
        if name in _MOVES:
            return self._rounded(value, self.number(value.args[0]))
        return None

    def _rounded(self, node: Node, number: float | None) -> float | None:
        """What is left of a number in a node's dtype."""
        result = node.meta.get("val")
        if number is None or not isinstance(result, torch.Tensor):
            return number
        floating = result.dtype.is_floating_point
        return number if floating or number.is_integer() else None

    def add(self, name: str, tensor: torch.Tensor) -> Node:
        """A new constant, made where the graph inserts."""
        self.tensors[name] = tensor.contiguous()
        node = self.graph.create_node("get_attr", name)
        node.meta["val"] = tensor
        return node
