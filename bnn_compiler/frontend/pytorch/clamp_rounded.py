"""A clamp of what is rounded is made before it, so that a sign may be found in it."""

import math
from typing import Any

import torch
from torch.fx import Node

from bnn_compiler.frontend.pytorch.constants import Constants
from bnn_compiler.frontend.pytorch.trace import argument, op_name

aten = torch.ops.aten
_ROUNDS = ("round", "floor", "ceil", "trunc", "fix")
#: Clamps: name -> the declared names of their bounds, and numbers that are bounds.
_CLAMPS: dict[str, tuple[tuple[str, str], tuple[float, float]]] = {
    "clamp": (("min", "max"), (-math.inf, math.inf)),
    "clamp_min": (("min", ""), (-math.inf, math.inf)),
    "clamp_max": (("", "max"), (-math.inf, math.inf)),
    "hardtanh": (("min_val", "max_val"), (-math.inf, math.inf)),
    "relu": (("", ""), (0.0, math.inf)),
    "relu6": (("", ""), (0.0, 6.0)),
}


def clamp_rounded(constants: Constants) -> None:
    """clamp(round(x), l, h) -> round(clamp(x, l, h)), where l and h are whole numbers.

    The same number for every x, since rounding is monotone and keeps l and h; likewise floor,
    ceil and trunc.
    """
    for node in list(constants.graph.nodes):
        rounded = node.args[0] if op_name(node) in _CLAMPS else None
        bounds = _bounds(constants, node)
        if bounds is None or not isinstance(rounded, Node) or op_name(rounded) not in _ROUNDS:
            continue
        if len(rounded.args) != 1 or rounded.kwargs:
            continue
        function: Any = rounded.target
        with constants.graph.inserting_before(node):
            clamp = constants.graph.call_function(
                aten.clamp.default, (rounded.args[0], *(_finite(b) for b in bounds))
            )
            clamp.meta = {k: v for k, v in node.meta.items() if k != "origin"}
            made = constants.graph.call_function(function, (clamp,))
        made.meta = dict(node.meta)
        node.replace_all_uses_with(made)


def _bounds(constants: Constants, node: Node) -> tuple[float, float] | None:
    """Of a clamp by whole numbers."""
    if op_name(node) not in _CLAMPS:
        return None
    names, numbers = _CLAMPS[op_name(node)]
    given = [argument(node, n) if n else None for n in names]
    found = [n if g is None else constants.number(g) for g, n in zip(given, numbers, strict=True)]
    low, high = found
    if low is None or high is None or low > high:
        return None
    whole = all(math.isinf(b) or b.is_integer() for b in (low, high))
    return (low, high) if whole else None


def _finite(bound: float) -> float | None:
    return None if math.isinf(bound) else bound
