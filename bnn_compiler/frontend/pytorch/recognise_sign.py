"""Every spelling of sign becomes the marker sign(x, zero)."""

import math
from typing import Any

import torch
from torch.fx import Graph, Node

from bnn_compiler.frontend.pytorch.markers import sign
from bnn_compiler.frontend.pytorch.trace import op_name

#: comparison with 0 -> (sign where it holds, sign of 0 if it holds for positive numbers)
_COMPARE = {"ge": (1, 1), "gt": (1, -1), "lt": (-1, 1), "le": (-1, -1)}
#: Functions that keep the sign of their argument, and 0.
_KEEPS_SIGN = ("tanh", "softsign")
#: Clamps: name -> the names of their bounds in order, their defaults.
_CLAMPS = {
    "hardtanh": (("min_val", "max_val"), (-1.0, 1.0)),
    "clamp": (("min", "max"), (-math.inf, math.inf)),
    "clamp_min": (("min", ""), (-math.inf, math.inf)),
    "clamp_max": (("", "max"), (-math.inf, math.inf)),
    "relu": (("", ""), (0.0, math.inf)),
    "relu6": (("", ""), (0.0, 6.0)),
}


def recognise_sign(graph: Graph) -> None:
    """Rewrite in place; tanh and clamps that keep every sign disappear in front of one.

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
            marker = graph.call_function(sign, (_strip(source, zero), zero))
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


def _match_sign(node: Node) -> tuple[Node, int] | None:
    source = node.args[0]
    if not isinstance(source, Node):
        return None
    if op_name(source) in ("add", "sub") and len(source.args) == 2 and not source.kwargs:
        inner, shift = source.args[0], scalar(source.args[1])
        # An inner sign without a 0 of its own is a marker by now, and decides alone.
        if shift is not None and 0 < abs(shift) < 1 and _is_sign(inner):
            assert isinstance(inner, Node) and isinstance(inner.args[0], Node)
            up = (shift > 0) == (op_name(source) == "add")
            fixed = inner.args[1] if inner.target is sign else 0
            assert isinstance(fixed, int)
            return inner.args[0], fixed or (1 if up else -1)
    return source, 0


def _is_sign(node: Any) -> bool:
    return isinstance(node, Node) and op_name(node) == "sign"


def _match_where(node: Node) -> tuple[Node, int] | None:
    if len(node.args) != 3:
        return None
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
    """2 * mask - 1 or mask * 2 + (-1), in a type that has -1."""
    value = node.meta.get("val")
    if len(node.args) != 2 or node.kwargs:
        return None
    if isinstance(value, torch.Tensor) and not value.dtype.is_signed:
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
        inner, result = scalar(value.args[0]), value.meta.get("val")
        floating = not isinstance(result, torch.Tensor) or result.dtype.is_floating_point
        return inner if floating or inner is None or inner.is_integer() else None
    return None


def _strip(node: Node, zero: int) -> Node:
    """The argument of functions in front of sign(., zero) that change no sign."""
    while _keeps_sign(node, zero) and isinstance(node.args[0], Node):
        node = node.args[0]
    return node


def _keeps_sign(node: Node, zero: int) -> bool:
    """Whether sign(f(x), zero) is sign(x, zero) for every x.

    A clamp at 0 makes zeros of what it cuts: max(x, 0) keeps the signs if 0 counts as -1.
    """
    name = op_name(node)
    if name in _KEEPS_SIGN:
        return True
    if name not in _CLAMPS:
        return False
    names, defaults = _CLAMPS[name]
    bounds = []
    for key, default in zip(names, defaults, strict=True):
        given = node.kwargs.get(key) if key else None
        if key and given is None:
            position = 1 if name == "clamp_max" else 1 + names.index(key)
            given = node.args[position] if len(node.args) > position else None
        bound = default if given is None else scalar(given)
        if bound is None:
            return False
        bounds.append(bound)
    low, high = bounds
    return low < 0 < high or (low == 0 < high and zero < 0) or (low < 0 == high and zero > 0)
