"""Every spelling of sign becomes the marker sign(x, zero)."""

from typing import Any

from torch.fx import Graph, Node

from bnn_compiler.frontend.markers import sign
from bnn_compiler.frontend.trace import op_name

#: comparison with 0 -> (sign where it holds, sign of 0 if it holds for positive numbers)
_COMPARE = {"ge": (1, 1), "gt": (1, -1), "lt": (-1, 1), "le": (-1, -1)}
#: Functions that keep the sign of their argument.
_KEEPS_SIGN = ("hardtanh", "clamp", "tanh", "softsign")


def recognise_sign(graph: Graph) -> None:
    """Rewrite in place; hardtanh, clamp around 0 and tanh in front of a sign disappear.

    | spelling | zero |
    |---|---|
    | sign(x) | 0 |
    | where(x >= 0, 1, -1), where(x < 0, -1, 1), 2 * (x >= 0) - 1 | +1 |
    | where(x > 0, 1, -1), where(x <= 0, -1, 1), 2 * (x > 0) - 1 | -1 |
    | sign(sign(x) + c), 0 < c < 1 | +1 |
    | sign(sign(x) - c) | -1 |
    """
    for node in list(graph.nodes):
        found = _match(node)
        if found is None:
            continue
        source, zero = found
        with graph.inserting_before(node):
            marker = graph.call_function(sign, (_strip(source), zero))
        marker.meta = dict(node.meta)
        node.replace_all_uses_with(marker)
        graph.erase_node(node)


def _match(node: Node) -> tuple[Node, int] | None:
    name = op_name(node)
    if name == "sign" and node.target is not sign:
        return _match_sign(node)
    if name == "where":
        return _match_where(node)
    if name in ("sub", "add"):
        return _match_affine_mask(node)
    return None


def _match_sign(node: Node) -> tuple[Node, int]:
    source = node.args[0]
    assert isinstance(source, Node)
    if op_name(source) in ("add", "sub") and len(source.args) == 2:
        inner, shift = source.args[0], scalar(source.args[1])
        if shift is not None and 0 < abs(shift) < 1 and _is_sign(inner):
            assert isinstance(inner, Node) and isinstance(inner.args[0], Node)
            up = (shift > 0) == (op_name(source) == "add")
            return inner.args[0], 1 if up else -1
    return source, 0


def _is_sign(node: Any) -> bool:
    return isinstance(node, Node) and op_name(node) == "sign"


def _match_where(node: Node) -> tuple[Node, int] | None:
    mask, then, other = node.args[0], scalar(node.args[1]), scalar(node.args[2])
    compared = _compared(mask)
    if compared is None or then is None or other is None or {then, other} != {1.0, -1.0}:
        return None
    source, (holds, zero) = compared
    return (source, zero) if then == holds else None


def _compared(mask: Any) -> tuple[Node, tuple[int, int]] | None:
    """(x, entry of _COMPARE) if ``mask`` compares x with 0."""
    kind = _COMPARE.get(op_name(mask))
    if kind is None or scalar(mask.args[1]) != 0.0 or not isinstance(mask.args[0], Node):
        return None
    return mask.args[0], kind


def _match_affine_mask(node: Node) -> tuple[Node, int] | None:
    """2 * mask - 1 or mask * 2 + (-1)."""
    if len(node.args) != 2 or node.kwargs:
        return None
    product, offset = node.args[0], scalar(node.args[1])
    wanted = 1.0 if op_name(node) == "sub" else -1.0
    if offset != wanted or op_name(product) != "mul":
        return None
    assert isinstance(product, Node)
    for mask, factor in (product.args, product.args[::-1]):
        while op_name(mask) in ("to", "_to_copy", "type_as"):
            mask = mask.args[0]  # type: ignore[union-attr]
        compared = _compared(mask)
        if compared is not None and scalar(factor) == 2.0 and compared[1][0] == 1:
            return compared[0], compared[1][1]
    return None


def scalar(value: Any) -> float | None:
    """The number that a Python scalar or a constant-filled tensor node stands for."""
    if isinstance(value, int | float):
        return float(value)
    name = op_name(value)
    if name in ("full_like", "full", "scalar_tensor"):
        return scalar(value.args[0] if name == "scalar_tensor" else value.args[1])
    fixed = {"ones_like": 1.0, "ones": 1.0, "zeros_like": 0.0, "zeros": 0.0}.get(name)
    if fixed is not None:
        return fixed
    if name == "neg":
        inner = scalar(value.args[0])
        return None if inner is None else -inner
    if name in ("mul",):
        parts = [scalar(a) for a in value.args]
        return None if None in parts else parts[0] * parts[1]  # type: ignore[operator]
    if name in ("to", "_to_copy", "expand", "expand_as", "lift_fresh_copy"):
        return scalar(value.args[0])
    return None


def _strip(node: Node) -> Node:
    """The argument of sign-keeping functions right in front of the sign."""
    while op_name(node) in _KEEPS_SIGN and isinstance(node.args[0], Node):
        bounds = [b for b in node.args[1:3] if isinstance(b, int | float)]
        low, high = (bounds + [-1.0, 1.0][len(bounds) :])[:2]
        if not low < 0 < high:
            break
        node = node.args[0]
    return node
