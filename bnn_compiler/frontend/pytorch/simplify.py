"""Training-only arithmetic leaves the graph; every spelling of sign becomes one marker.

The order matters: straight-through expressions are cancelled before constants are folded, so that
a weight comes out as exactly scale * sign(W).
"""

from collections.abc import Callable
from typing import Any

import torch
from torch.fx import Graph, Node

from bnn_compiler.frontend.pytorch.clamp_rounded import clamp_rounded
from bnn_compiler.frontend.pytorch.constants import Constants
from bnn_compiler.frontend.pytorch.decompose import decompose
from bnn_compiler.frontend.pytorch.purity import is_impure, is_random, refuse_impure
from bnn_compiler.frontend.pytorch.recognise_leaky import recognise_leaky
from bnn_compiler.frontend.pytorch.recognise_sign import recognise_sign
from bnn_compiler.frontend.pytorch.trace import TracedGraph, interpreter, op_name

aten = torch.ops.aten
#: Operators that give their first argument back at inference.
_IDENTITY = {
    aten.detach.default,
    aten.alias.default,
    aten.clone.default,
    aten.contiguous.default,
    aten.lift_fresh_copy.default,
    aten.detach_.default,
}
#: Operators that do so unless they draw random numbers.
_DROPOUTS = {"dropout", "feature_dropout", "alpha_dropout", "feature_alpha_dropout"}
#: Casts that are identities when the dtype does not change.
_CASTS = {"to", "_to_copy", "type_as", "expand", "expand_as", "view", "reshape"}

#: Operators of whose first argument only the shape counts.
_SHAPED = {"zeros_like", "ones_like", "full_like", "new_zeros", "new_ones", "new_full"}


def simplify(traced: TracedGraph) -> TracedGraph:
    """An equal graph without training arithmetic; float rounding of signs is made exact.

    Raises UnsupportedError if the result depends on random numbers or uninitialised memory.
    """
    traced = traced.copy()
    for node in list(traced.graph.nodes):
        _drop_identity(node)
    for step in (_merge_equal, _cancel_straight_through):
        step(traced.graph)
        _remove_dead(traced.graph)
    constants = dict(traced.constants)
    _fold_constants(traced, constants)
    for recognise in (recognise_leaky, clamp_rounded, recognise_sign):
        _remove_dead(traced.graph)
        recognise(Constants(traced.graph, constants))
    _remove_dead(traced.graph)
    # What becomes constant by one decomposition may be the indices that another needs.
    while decompose(traced.graph, constants):
        _fold_constants(traced, constants)
        for node in list(traced.graph.nodes):
            _drop_identity(node)
        _remove_dead(traced.graph)
    refuse_impure(traced.graph)
    used = {str(n.target) for n in traced.graph.nodes if n.op == "get_attr"}
    kept = {k: v for k, v in constants.items() if k in used}
    return TracedGraph(traced.graph, kept, traced.inputs, traced.note)


def _same_type(a: Node, b: Node) -> bool:
    x, y = a.meta.get("val"), b.meta.get("val")
    return (
        isinstance(x, torch.Tensor)
        and isinstance(y, torch.Tensor)
        and (x.shape, x.dtype) == (y.shape, y.dtype)
    )


def _drop_identity(node: Node) -> None:
    if node.op != "call_function":
        return
    if op_name(node) in ("_assert_tensor_metadata", "_assert_scalar"):
        node.graph.erase_node(node)
        return
    if op_name(node) == "cat":
        _drop_empty(node)
    if op_name(node) == "copy":
        _drop_destination(node)
    source = node.args[0] if node.args else None
    if not isinstance(source, Node):
        return
    identity = node.target in _IDENTITY or (op_name(node) in _DROPOUTS and not is_random(node))
    if identity or (op_name(node) in _CASTS and _same_type(node, source)):
        node.replace_all_uses_with(source)
        node.graph.erase_node(node)


def _drop_empty(node: Node) -> None:
    """cat([a, empty, b]) -> cat([a, b])."""
    parts: Any = node.args[0]
    full = [p for p in parts if not _is_empty(p)]
    if full:
        node.update_arg(0, full)


def _drop_destination(node: Node) -> None:
    """copy(self, src) -> expand(src, shape of self)."""
    source = node.args[1]
    if isinstance(source, Node) and _dtype(source) == _dtype(node):
        node.target, node.args = aten.expand.default, (source, list(node.meta["val"].shape))
        node.kwargs = {}


def _dtype(node: Node) -> Any:
    return getattr(node.meta.get("val"), "dtype", None)


def _merge_equal(graph: Graph) -> None:
    seen: dict[Any, Node] = {}
    for node in list(graph.nodes):
        if node.op not in ("call_function", "get_attr"):
            continue
        key = (node.op, node.target, repr(node.args), repr(sorted(node.kwargs.items())))
        if key in seen:
            node.replace_all_uses_with(seen[key])
            graph.erase_node(node)
        else:
            seen[key] = node


def _cancel_straight_through(graph: Graph) -> None:
    """(F - S) + S -> F, S + (F - S) -> F."""
    for node in list(graph.nodes):
        if op_name(node) != "add" or len(node.args) != 2 or node.kwargs:
            continue
        for inner, other in (node.args, node.args[::-1]):
            if op_name(inner) != "sub" or inner.kwargs or inner.args[1] is not other:
                continue
            forward = inner.args[0]
            if isinstance(forward, Node) and _same_shape(forward, node):
                node.replace_all_uses_with(forward)
                graph.erase_node(node)
                break


def _same_shape(a: Node, b: Node) -> bool:
    x, y = a.meta.get("val"), b.meta.get("val")
    return x is not None and y is not None and x.shape == y.shape


def _fold_constants(traced: TracedGraph, constants: dict[str, torch.Tensor]) -> None:
    """Evaluate with torch every node that depends on constants, or on shapes, only."""
    evaluate = interpreter(TracedGraph(traced.graph, constants, traced.inputs))
    known: dict[Node, Any] = {}
    for node in list(traced.graph.nodes):
        if node.op == "get_attr":
            known[node] = constants[str(node.target)]
        elif node.op == "call_function" and _is_empty(node):
            value = node.meta["val"]
            known[node] = torch.empty(tuple(value.shape), dtype=value.dtype)
        elif op_name(node) in _SHAPED:
            shape = node.args[0].meta["val"].shape
            known[node] = node.target(torch.zeros(shape), *node.args[1:], **node.kwargs)
        elif (
            node.op == "call_function"
            and all(a in known for a in node.all_input_nodes)
            and not is_impure(node)
        ):
            evaluate.env = known
            with torch.no_grad():
                known[node] = evaluate.run_node(node)
            for source in node.all_input_nodes:
                if all(user in known for user in source.users):
                    # Read for the last time: intermediate weights are as large as the model.
                    known[source] = None
    for node, value in known.items():
        feeds = any(user not in known for user in node.users)
        if node.op != "call_function" or not feeds or not isinstance(value, torch.Tensor):
            continue
        name = f"folded_{node.name}"
        constants[name] = value.contiguous()
        with traced.graph.inserting_before(node):
            new = traced.graph.create_node("get_attr", name)
        new.meta = dict(node.meta)
        node.replace_all_uses_with(new)


def _is_empty(node: Node) -> bool:
    """Whether its result has no element, whatever it is made of."""
    shape = getattr(node.meta.get("val"), "shape", ())
    return any(isinstance(n, int) and n == 0 for n in shape)


def _remove_dead(graph: Graph) -> None:
    is_pure: Callable[[Node], bool] = lambda n: n.op in ("call_function", "get_attr")  # noqa: E731
    for node in reversed(list(graph.nodes)):
        if is_pure(node) and not node.users:
            graph.erase_node(node)
