"""Integers, truth values and levels that PyTorch computes from floats, and where rounding decides
them.

An index of the largest of two values that are as near as rounding is no more right than the other.
So what a decision is made of is moved by what rounding explains, at random, and where that changes
it, it is ambiguous. Everywhere else it has to be PyTorch's own.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch.fx import Node
from torch.fx.node import map_arg

from bnn_compiler.frontend.pytorch.levels import is_level
from bnn_compiler.frontend.pytorch.trace import TracedGraph

#: Of two values that rounding can swap, one draw in four does.
_DRAWS = 16


@dataclass(frozen=True)
class Decision:
    """``node``, an integer, is made by ``steps``, itself the last, of what ``reads`` hold."""

    node: Node
    steps: tuple[Node, ...]
    reads: tuple[Node, ...]

    def ambiguous(
        self, values: Mapping[Node, Any], rounding: Callable[[Node], float]
    ) -> torch.Tensor:
        """Where it changes when the floats of ``reads`` are moved by their ``rounding``."""
        still = values[self.node]
        found = torch.zeros(still.shape, dtype=torch.bool)
        moved = {n: rounding(n) for n in self.reads if _is_float(n)}
        if not any(moved.values()):
            return found
        random = torch.Generator().manual_seed(0)
        for _ in range(_DRAWS):
            env = {n: values[n] for n in self.reads}
            for n, width in moved.items():
                side = torch.randint(0, 2, env[n].shape, generator=random) * 2 - 1
                env[n] = env[n] + side * width
            for step in self.steps:
                args: Any
                kwargs: Any
                args, kwargs = (map_arg(a, env.__getitem__) for a in (step.args, step.kwargs))
                env[step] = step.target(*args, **kwargs)  # type: ignore[operator]
            found |= env[self.node] != still
        return found


def decisions(traced: TracedGraph, wanted: Iterable[Node]) -> dict[Node, Decision]:
    """Those of ``wanted`` that are integers, truth values or levels."""
    at = {node: i for i, node in enumerate(traced.graph.nodes)}
    found = {}
    for node in wanted:
        few = is_level(node) or (_is_tensor(node) and not _is_float(node))
        if few and node.op == "call_function":
            steps, reads = _behind(node)
            found[node] = Decision(
                node,
                tuple(sorted(steps, key=at.__getitem__)),
                tuple(sorted(reads, key=at.__getitem__)),
            )
    return found


def _behind(node: Node) -> tuple[set[Node], set[Node]]:
    """The operators that decide it, and what those read of others."""
    steps, reads, waiting = {node}, set[Node](), [node]
    while waiting:
        for source in waiting.pop().all_input_nodes:
            if source.op == "call_function" and _is_discrete(source):
                if source not in steps:
                    steps.add(source)
                    waiting.append(source)
            else:
                reads.add(source)
    return steps, reads


def _is_discrete(node: Node) -> bool:
    """Whether it has few values: integers, truth values, and floats that are made of them."""
    if not _is_float(node):
        return True
    sources = [n for n in node.all_input_nodes if n.op != "get_attr"]
    return bool(sources) and all(_is_tensor(n) and not _is_float(n) for n in sources)


def _is_tensor(node: Node) -> bool:
    return isinstance(node.meta.get("val"), torch.Tensor)


def _is_float(node: Node) -> bool:
    return _is_tensor(node) and bool(node.meta["val"].is_floating_point())
