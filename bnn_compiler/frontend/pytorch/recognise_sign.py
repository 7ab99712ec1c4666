"""Every spelling of sign becomes the marker sign(x, zero)."""

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.fx import Node

from bnn_compiler.frontend.oracle import Levels
from bnn_compiler.frontend.pytorch.constants import Constants
from bnn_compiler.frontend.pytorch.markers import sign
from bnn_compiler.frontend.pytorch.steps import Steps
from bnn_compiler.frontend.pytorch.stepwise import Stepwise
from bnn_compiler.frontend.pytorch.trace import op_name

aten = torch.ops.aten
#: Functions that keep the sign of their argument, and 0.
_KEEPS_SIGN = ("tanh", "softsign")
#: What is compiled as it stands.
_CLIPS = ("clamp", "clamp_min", "clamp_max", "hardtanh", "relu", "relu6")


def recognise_sign(constants: Constants) -> None:
    """Rewrite a graph in place: a function of one value with one step is a sign, or made of one.

    | function of x | becomes |
    |---|---|
    | -1 below 0, +1 above | sign(x, zero), whatever it is at 0 |
    | a below t, b above | (a + b) / 2 + (b - a) / 2 * sign(x - t, zero) |
    | l below l, x up to h, h above | clamp(x, l, h) |

    The spelling does not matter (stepwise.py). At t it has to be a, b or their mean. tanh in front
    of a sign disappears. x / abs(x), which is nothing at 0, is torch.sign.
    """
    for node in constants.graph.nodes:
        _quotient(node)
    # First of all nodes, then rewritten: what a node becomes hides what the next is made of.
    asked = Stepwise(constants.graph, constants)
    _rewrite(constants, {n: asked.of(n) for n in constants.graph.nodes if _may_be_sign(n)})
    # Without a tanh in front of them, signs may see a clamp.
    asked = Stepwise(constants.graph, constants)
    markers = [n for n in constants.graph.nodes if n.target is sign]
    found = {n: asked.of(n) for n in markers}
    _rewrite(
        constants, {n: s for n, s in found.items() if getattr(s, "source", n) is not n.args[0]}
    )


def _quotient(node: Node) -> None:
    """x / abs(x) or abs(x) / x -> sign(x)."""
    if op_name(node) not in ("div", "divide", "true_divide") or node.kwargs or len(node.args) != 2:
        return
    for x, size in (node.args, node.args[::-1]):
        if isinstance(size, Node) and op_name(size) in ("abs", "absolute") and size.args[0] is x:
            node.target, node.args = aten.sign.default, (x,)
            return


def _may_be_sign(node: Node) -> bool:
    value = node.meta.get("val")
    return node.op == "call_function" and isinstance(value, Tensor) and value.dtype == torch.float32


def _rewrite(constants: Constants, found: dict[Node, Steps | Tensor]) -> None:
    """Put what functions of one value are in the place of their nodes."""
    made: dict[Node, Node] = {}
    for node, steps in found.items():
        if not isinstance(steps, Steps) or steps.source is node:
            continue
        steps = replace(steps, source=made.get(steps.source, steps.source))
        new = _sign(constants, node, steps) or _clamp(constants.graph, node, steps)
        if new is not None:
            node.replace_all_uses_with(new)
            made[node] = new


@dataclass(frozen=True)
class _Step:
    """center + half * sign(x - edge, zero); tensors that broadcast to x."""

    edge: Tensor
    center: Tensor
    half: Tensor
    zero: int


def _one_step(steps: Steps) -> _Step | None:
    if len(steps.edges) != 1:
        return None
    below, at, above = steps.values
    if below is None or at is None or above is None:
        return None
    center = ((below.double() + above.double()) / 2).float()
    half = ((above.double() - below.double()) / 2).float()
    if not bool((half != 0).all()) or not bool(
        torch.isfinite(torch.cat([half.flatten(), center.flatten()])).all()
    ):
        return None
    for zero, value in ((1, above), (-1, below), (0, center)):
        if bool((at == value).all()):
            return _Step(steps.edges[0], center, half, zero)
    return None


def _sign(constants: Constants, node: Node, steps: Steps) -> Node | None:
    step = _one_step(steps)
    if step is None:
        return None
    graph, source = constants.graph, steps.source
    shifted = bool((step.edge != 0).any())
    scaled = not bool((step.half == 1).all()) or bool((step.center != 0).any())
    with graph.inserting_before(node):
        before = source if shifted else _strip(source)
        origin = before.meta.get("origin")
        if shifted:
            before = _call(
                graph, node, aten.sub.Tensor, before, _operand(constants, node, "edge", step.edge)
            )
        marker = graph.call_function(sign, (before, step.zero))
        marker.meta = dict(node.meta)
        levels = Levels(*(v.numpy() for v in (step.edge, step.center, step.half)))
        marker.meta["sign"] = (origin, levels)
        result = marker
        if scaled:
            if not bool((step.half == 1).all()):
                half = _operand(constants, node, "half", step.half)
                result = _call(graph, node, aten.mul.Tensor, result, half)
            if bool((step.center != 0).any()):
                center = _operand(constants, node, "center", step.center)
                result = _call(graph, node, aten.add.Tensor, result, center)
            result.meta["origin"] = node.meta.get("origin")
    return result


def _clamp(graph: Any, node: Node, steps: Steps) -> Node | None:
    """A clamp in other words."""
    if op_name(node) in _CLIPS or None not in steps.values or not steps.edges:
        return None
    inside = steps.values.index(None)
    values, edges = steps.values, steps.edges
    low = high = None
    if inside == 2:
        low = _same_number(values[0], values[1], edges[0])
    if inside == len(values) - 3:
        high = _same_number(values[-1], values[-2], edges[-1])
    if inside not in (0, 2) or len(values) - 1 - inside not in (0, 2):
        return None
    if (inside == 2 and low is None) or (inside == len(values) - 3 and high is None):
        return None
    with graph.inserting_before(node):
        made: Node = graph.call_function(aten.clamp.default, (steps.source, low, high))
    made.meta = dict(node.meta)
    return made


def _same_number(*values: Tensor | None) -> float | None:
    """The number that all of them are everywhere."""
    flat = [v.flatten() for v in values if v is not None]
    if len(flat) < len(values):
        return None
    whole = torch.cat(flat)
    return float(whole[0]) if bool((whole == whole[0]).all()) else None


def _operand(constants: Constants, node: Node, what: str, value: Tensor) -> Any:
    """A number, or a new constant where it differs by channel."""
    number = _same_number(value)
    return constants.add(f"{node.name}_{what}", value) if number is None else number


def _call(graph: Any, node: Node, function: Any, *arguments: Any) -> Node:
    """A new node at the place of ``node`` that is no value of PyTorch's."""
    made: Node = graph.call_function(function, arguments)
    made.meta = {k: v for k, v in node.meta.items() if k != "origin"}
    return made


def _strip(node: Node) -> Node:
    """The argument of functions in front of a sign that change no sign and no 0."""
    while op_name(node) in _KEEPS_SIGN and isinstance(node.args[0], Node):
        node = node.args[0]
    return node
