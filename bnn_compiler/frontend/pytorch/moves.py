"""Operators that move elements, or add some of them up, by constant indices.

Each is run on positions, numbers that say which element lies where:

    y = x.gather(1, index)
    ->
    y = x.reshape(-1)[positions.gather(1, index)]
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.fx import Node
from torch.utils._python_dispatch import _disable_current_modes
from torch.utils._pytree import tree_flatten, tree_unflatten

from bnn_compiler.frontend.pytorch.trace import op_name

_SOURCES = ("self", "src", "value", "values", "source")
#: Operators each of whose elements is one of theirs, a number of theirs, or 0.
MOVED = {
    *("gather", "take", "diagonal", "diag_embed", "scatter", "select_scatter", "slice_scatter"),
    *("diagonal_scatter", "index_fill", "index_copy", "index_put"),
}
#: Operators that add elements of a source to those of ``self``: (positions of self, other
#: arguments) -> the position that each of the source's is added to.
_ADDED: dict[str, Callable[..., Tensor]] = {
    "scatter_add": lambda at, dim, index: at.gather(dim, index),
    "index_add": lambda at, dim, index: at.index_select(dim, index),
    "index_put": lambda at, indices: at[tuple(slice(None) if i is None else i for i in indices)],
}
Moved = tuple[list[Node], Callable[..., Tensor]]


def by_position(node: Node, constants: dict[str, Tensor]) -> Moved | None:
    """What ``node`` is of its operands; None unless its indices are known."""
    name, named = op_name(node), _named(node)
    adds = name in _ADDED and (name != "index_put" or named.get("accumulate", False))
    if not adds and name not in MOVED:
        return None
    given = {}
    for key, value in named.items():
        if key in _SOURCES:
            continue
        leaves, form = tree_flatten(value)
        known = [_value(v, constants) for v in leaves]
        if any(k is None and v is not None for k, v in zip(known, leaves, strict=True)):
            return None
        given[key] = tree_unflatten([_whole(k) for k in known], form)
    return _added(name, named, given) if adds else _moved(node, named, given)


def _named(node: Node) -> dict[str, Any]:
    """Its arguments by their declared names."""
    target: Any = node.target
    names = [a.name for a in target._schema.arguments]
    return dict(zip(names, node.args, strict=False)) | dict(node.kwargs)


def _value(leaf: Any, constants: dict[str, Tensor]) -> Any:
    """What is no node, or a constant one's tensor; None for a computed one."""
    if not isinstance(leaf, Node):
        return leaf
    return constants.get(str(leaf.target)) if leaf.op == "get_attr" else None


def _whole(value: Any) -> Any:
    """Indices as integers, whatever they were computed as."""
    floats = isinstance(value, Tensor) and value.is_floating_point()
    return value.long() if floats else value


def _moved(node: Node, named: dict[str, Any], given: dict[str, Any]) -> Moved:
    """Position 0 is a zero; then come the numbers, then each tensor's elements."""
    target: Any = node.target
    numbers = [0.0]
    for key, value in named.items():
        if key in _SOURCES and not isinstance(value, Node):
            given[key] = len(numbers)
            numbers.append(float(value))
    sources, first = list[Node](), len(numbers)
    for key, value in named.items():
        if key in _SOURCES and isinstance(value, Node):
            shape = value.meta["val"].shape
            given[key] = torch.arange(first, first + shape.numel()).reshape(shape)
            first += shape.numel()
            sources.append(value)
    found: Tensor = target(**given)

    def function(*tensors: Tensor) -> Tensor:
        return _taken(numbers, tensors, found).reshape(found.shape)

    return sources, function


def _taken(numbers: Sequence[float], tensors: Sequence[Tensor], at: Tensor) -> Tensor:
    """[n]: elements of numbers and of tensors, one behind the other, at positions."""
    parts = [t.reshape(-1) for t in tensors]
    with _disable_current_modes():
        at = at.reshape(-1)
        if bool((at < len(numbers)).any()):
            parts.insert(0, torch.tensor(numbers))
        else:
            at = at - len(numbers)
    return (torch.cat(parts) if len(parts) > 1 else parts[0]).index_select(0, at)


def _added(name: str, named: dict[str, Any], given: dict[str, Any]) -> Moved:
    onto, source = (v for k, v in named.items() if k in _SOURCES)
    shape, factor = onto.meta["val"].shape, given.pop("alpha", 1)
    given.pop("accumulate", None)
    at = _ADDED[name](torch.arange(1, 1 + shape.numel()).reshape(shape), **given)

    def function(x: Tensor, y: Tensor) -> Any:
        return x + summed(y.expand(at.shape).reshape(-1), at, shape) * factor

    return [onto, source], function


def summed(x: Any, at: Tensor, shape: Sequence[int]) -> Any:
    """[..., *shape] of [..., n]: sums of the elements that are given the same position.

    ``at`` [n] counts positions from 1; what is at 0 is left out.
    """
    with _disable_current_modes():
        places = at.reshape(-1).numpy()
    order = np.argsort(places, kind="stable")
    order = order[places[order] > 0]
    count = np.bincount(places[order] - 1, minlength=math.prod(shape))
    most = max(int(count.max()), 1)
    # How many come before an element at its position.
    nth = np.arange(order.size) - np.repeat(np.cumsum(count) - count, count)
    table = np.full((math.prod(shape), most), places.size, np.int64)
    table[places[order] - 1, nth] = order
    with _disable_current_modes():
        taken_at = torch.from_numpy(table.reshape(-1))
    # Behind the last element comes a zero, if there are positions with fewer than others.
    source = F.pad(x, (0, 1)) if (count < most).any() else x
    terms = source.index_select(-1, taken_at)
    return terms.unflatten(-1, (*shape, most)).sum(-1)
