"""Networks whose result is not a function of their inputs are refused."""

from typing import Any

import torch
from torch.fx import Graph, Node

from bnn_compiler.errors import UnsupportedError
from bnn_compiler.frontend.pytorch.trace import argument, describe, op_name

#: Operators whose result is whatever memory holds.
_UNDEFINED = {
    "empty",
    "empty_like",
    "empty_permuted",
    "empty_strided",
    "new_empty",
    "new_empty_strided",
}
#: Operators that replace every element of their first argument.
_OVERWRITE = {"fill", "copy", "zero"}


def is_random(node: Any) -> bool:
    """Whether a node draws random numbers; a dropout outside training does not."""
    if not isinstance(node, Node) or not isinstance(node.target, torch._ops.OpOverload):
        return False
    if torch.Tag.nondeterministic_seeded not in node.target.tags:
        return False
    if argument(node, "dropout_p") == 0.0:
        return False
    return all(argument(node, name) is not False for name in ("train", "training"))


def is_impure(node: Any) -> bool:
    """Whether a node's result is random, or memory that somebody reads as it is."""
    return is_random(node) or _is_undefined(node)


def _is_undefined(node: Any) -> bool:
    return op_name(node) in _UNDEFINED and not all(_overwrites(u, node) for u in node.users)


def refuse_impure(graph: Graph) -> None:
    """Raise UnsupportedError for random numbers or uninitialised memory in ``graph``.

    Nodes that nobody reads must be gone.
    """
    for node in graph.nodes:
        if is_random(node):
            raise UnsupportedError(
                f"{describe(node)} draws random numbers; a compiled network gives the same result"
                " for the same input"
            )
    for node in graph.nodes:
        if _is_undefined(node):
            raise UnsupportedError(
                f"{describe(node)} makes a tensor of undefined values; use torch.zeros"
            )


def _overwrites(user: Node, node: Node) -> bool:
    return op_name(user) in _OVERWRITE and user.args[0] is node and node not in user.args[1:]
