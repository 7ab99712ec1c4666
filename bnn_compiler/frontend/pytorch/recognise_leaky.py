"""Bi-Real-50's Leakyclip, written as mask arithmetic, becomes leaky ReLUs."""

from collections.abc import Callable
from typing import Any

import torch
from torch.fx import Node

from bnn_compiler.frontend.pytorch.constants import Constants
from bnn_compiler.frontend.pytorch.trace import op_name

aten = torch.ops.aten
#: The number that an argument stands for.
Scalar = Callable[[Any], float | None]


def recognise_leaky(constants: Constants) -> None:
    """Where both pieces meet at the mask's edge c, a blend is one leaky ReLU around it.

    (s*x + t) * (x < c) + x * (1 - (x < c))   ->   leaky_relu(x - c, s) + c
    (s*x + t) * (x > c) + x * (1 - (x > c))   ->   c - leaky_relu(c - x, s)
    """
    graph = constants.graph
    for node in list(graph.nodes):
        found = _match(node, constants.number)
        if found is None:
            continue
        x, side, edge, slope = found
        with graph.inserting_before(node):
            if side == "lt":
                inner = graph.call_function(aten.sub.Tensor, (x, edge))
                leaky = graph.call_function(aten.leaky_relu.default, (inner, slope))
                result = graph.call_function(aten.add.Tensor, (leaky, edge))
            else:
                inner = graph.call_function(aten.rsub.Scalar, (x, edge))
                leaky = graph.call_function(aten.leaky_relu.default, (inner, slope))
                result = graph.call_function(aten.rsub.Scalar, (leaky, edge))
        result.meta = dict(node.meta)
        for new in (inner, leaky):
            new.meta = {k: v for k, v in node.meta.items() if k != "origin"}
        node.replace_all_uses_with(result)
        graph.erase_node(node)


def _match(node: Node, scalar: Scalar) -> tuple[Node, str, float, float] | None:
    """(x, "lt" or "gt", edge, slope) of a blend."""
    if op_name(node) != "add" or not _is_plain(node):
        return None
    for chosen, rest in (node.args, node.args[::-1]):
        for piece, mask in _factors(chosen):
            compare = _uncast(mask)
            if op_name(compare) not in ("lt", "gt"):
                continue
            edge = scalar(compare.args[1])
            kept = [b for b, m in _factors(rest) if _is_complement(m, mask, scalar)]
            if edge is None or not kept or not _same_side(kept[0], compare, edge):
                continue
            line = _line(piece, kept[0], scalar)
            if line is None:
                continue
            slope, shift = line
            if abs(slope * edge + shift - edge) <= 1e-6 * max(1.0, abs(edge)):
                return kept[0], op_name(compare), edge, slope
    return None


def _same_side(value: Any, compare: Any, edge: float) -> bool:
    """Whether comparing ``value`` with the edge decides like the mask does.

    It is what the mask compares, or that after a leaky ReLU which leaves the edge alone.
    """
    x = compare.args[0]
    if value is x:
        return True
    if op_name(compare) != "gt" or op_name(value) != "add" or not _is_plain(value):
        return False
    leaky, low = value.args
    if op_name(leaky) != "leaky_relu" or not isinstance(low, int | float) or low > edge:
        return False
    inner = leaky.args[0]
    return (
        op_name(inner) == "sub" and _is_plain(inner) and inner.args[0] is x and inner.args[1] == low
    )


def _is_plain(node: Node) -> bool:
    """Whether a sum or difference has two operands and no factor alpha."""
    return len(node.args) == 2 and not node.kwargs


def _factors(node: Any) -> list[tuple[Any, Any]]:
    if op_name(node) != "mul":
        return []
    a, b = node.args
    return [(a, b), (b, a)]


def _uncast(node: Any) -> Any:
    while op_name(node) in ("to", "_to_copy", "type_as"):
        node = node.args[0]
    return node


def _is_complement(node: Any, mask: Any, scalar: Scalar) -> bool:
    """Whether ``node`` is 1 - mask."""
    if not isinstance(node, Node) or not _is_plain(node):
        return False
    if op_name(node) == "rsub":
        return node.args[0] is mask and scalar(node.args[1]) == 1.0
    return op_name(node) == "sub" and scalar(node.args[0]) == 1.0 and node.args[1] is mask


def _line(node: Any, x: Node, scalar: Scalar) -> tuple[float, float] | None:
    """(s, t) if ``node`` is s * x + t."""
    if op_name(node) in ("add", "sub") and _is_plain(node):
        shift = scalar(node.args[1])
        inner = _line(node.args[0], x, scalar)
        if shift is None or inner is None:
            return None
        return inner[0], inner[1] + (shift if op_name(node) == "add" else -shift)
    for a, factor in _factors(node):
        value = scalar(factor)
        if a is x and value is not None:
            return value, 0.0
    return None
