"""An operator without a converter becomes operators that have one.

What only moves elements is run on positions (moves.py); anything else is replaced by what
decompositions.py writes it as, or PyTorch does, again and again until there are converters.
"""

import operator
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch._C import DispatchKey
from torch._decomp import decomposition_table
from torch._ops import OpOverload
from torch._subclasses import FakeTensorMode
from torch.backends.mkldnn import flags
from torch.fx import Graph, GraphModule, Node
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils._pytree import tree_flatten, tree_unflatten

from bnn_compiler.frontend.pytorch import moves, unbatched
from bnn_compiler.frontend.pytorch.convert_general import GENERAL
from bnn_compiler.frontend.pytorch.convert_index import MOST_FIRST
from bnn_compiler.frontend.pytorch.converters import HANDLERS
from bnn_compiler.frontend.pytorch.decompositions import DECOMPOSITIONS
from bnn_compiler.frontend.pytorch.purity import is_random
from bnn_compiler.frontend.pytorch.quiet import quiet
from bnn_compiler.frontend.pytorch.trace import op_name

#: How often what an operator was replaced by is replaced again.
_DEPTH = 8
Function = Callable[..., Any]


def decompose(graph: Graph, constants: dict[str, torch.Tensor]) -> bool:
    """Replace every operator, in place, that has no converter but a decomposition.

    Tensors that it brings along are added to ``constants``. Whether any was replaced.
    """
    waiting = [(node, 0) for node in reversed(graph.nodes)]
    changed = False
    while waiting:
        node, depth = waiting.pop()
        if depth == _DEPTH or not _is_wanted(node):
            continue
        made = _replaced(node, constants)
        changed = changed or made is not None
        waiting += [(n, depth + 1) for n in reversed(made or ())]
    return changed


def _is_wanted(node: Node) -> bool:
    if not isinstance(node.target, OpOverload) or is_random(node):
        return False
    name = op_name(node)
    if name == "pow":
        return not _is_power_of(node)
    if name == "topk":
        count = node.args[1]
        return isinstance(count, int) and count > MOST_FIRST
    if unbatched.is_unbatched(node):
        return True
    return name in DECOMPOSITIONS or name in moves.MOVED or not _is_known(name)


def _is_known(name: str) -> bool:
    return name in HANDLERS or name in GENERAL


def _is_power_of(node: Node) -> bool:
    """By one constant number, for which there is a converter."""
    base, exponent = node.args
    if isinstance(exponent, Node):
        return exponent.op == "get_attr" and exponent.meta["val"].numel() == 1
    return isinstance(base, Node)


def _replaced(node: Node, constants: dict[str, torch.Tensor]) -> list[Node] | None:
    """What ``node`` became; None if no decomposition is known."""
    given, form = tree_flatten((list(node.args), dict(node.kwargs)))
    sources = [v for v in given if isinstance(v, Node)]
    if not all(isinstance(s.meta.get("val"), torch.Tensor) for s in sources):
        return None
    target: Any = node.target
    moved = moves.by_position(node, constants)
    if moved is not None:
        sources, function = moved
        forms: list[Function] = [function]
    elif unbatched.is_unbatched(node):
        forms = [_on_tensors(unbatched.batched(target), given, form)]
        target = None
    else:
        forms = [_on_tensors(f, given, form) for f in _forms(target)]
    for function in forms:
        inner = _traced(function, sources, target)
        if inner is not None:
            return _inlined(node, inner, sources, constants)
    return None


def _forms(target: Any) -> list[Function]:
    """Ours, PyTorch's in Python, and the operator itself, which may be made of others in C++."""
    name = str(target.__name__).split(".")[0]
    python = target.py_kernels.get(DispatchKey.CompositeImplicitAutograd)
    found = (DECOMPOSITIONS.get(name), decomposition_table.get(target), python, target)
    return [f for f in found if f is not None]


def _on_tensors(function: Function, given: Sequence[Any], form: Any) -> Function:
    """``function`` of the tensors alone that are nodes among its arguments."""

    def call(*tensors: torch.Tensor) -> Any:
        rest = iter(tensors)
        leaves = [next(rest) if isinstance(v, Node) else v for v in given]
        args, kwargs = tree_unflatten(leaves, form)
        return function(*args, **kwargs)

    return call


def _traced(function: Function, sources: Sequence[Node], target: Any) -> GraphModule | None:
    """The operators of ``function``, none of them ``target``, on tensors like
    ``sources``; if it can be, before PyTorch takes composite operators apart.
    None if it cannot be traced."""
    for before in (True, False):
        # Decompositions are Python code of PyTorch's and raise what they like.
        try:
            # With oneDNN a recurrent layer would become an operator of its own.
            fake = FakeTensorMode(allow_non_fake_inputs=True)
            with quiet(), fake, flags(enabled=False), torch.no_grad():
                values = [s.meta["val"] for s in sources]
                like = [torch.empty(v.shape, dtype=v.dtype) for v in values]
                made: GraphModule = make_fx(function, tracing_mode="fake", pre_dispatch=before)(
                    *like
                )
        except Exception:
            continue
        if not any(n.target is target or _is_no_end(n) for n in made.graph.nodes):
            return made
    return None


def _is_no_end(node: Node) -> bool:
    """Whether it writes in place, or is an operator below those that a user knows."""
    if not isinstance(node.target, OpOverload):
        return False
    below = node.target.namespace == "prims" and not _is_known(op_name(node))
    return below or bool(node.target._schema.is_mutable)


def _inlined(
    node: Node, inner: GraphModule, sources: Sequence[Node], constants: dict[str, torch.Tensor]
) -> list[Node]:
    """``inner`` in place of ``node``."""
    known = dict(zip(inner.graph.find_nodes(op="placeholder"), sources, strict=True))
    made: list[Node] = []
    with node.graph.inserting_before(node):
        for each in inner.graph.nodes:
            if each.op in ("placeholder", "output"):
                continue
            new = node.graph.node_copy(each, known.__getitem__)
            new.meta = {"val": each.meta.get("val"), "tensor": ""}
            new.meta |= {k: node.meta.get(k, "") for k in ("module_path", "line")}
            if each.op == "get_attr":
                new.target = f"{node.name}_{each.target}"
                new.meta["val"] = constants[new.target] = getattr(inner, str(each.target))
            known[each] = new
            made.append(new)
    (result,) = inner.graph.find_nodes(op="output")[0].args
    if isinstance(result, Node) and not isinstance(result.target, OpOverload | str):
        # Its results by name: a call of a class.
        result = result.args if result.target is not operator.getitem else result
    if isinstance(result, Node):
        _stand_for(node, known[result], made)
        return made
    for user in list(node.users):
        found = result[int(str(user.args[1]))]
        if isinstance(found, Node):
            _stand_for(user, known[found], made)
    if not node.users:
        node.graph.erase_node(node)
    return made


def _stand_for(node: Node, by: Node, made: Sequence[Node]) -> None:
    if by in made and "origin" in node.meta:
        by.meta["origin"] = node.meta["origin"]
    node.replace_all_uses_with(by)
    node.graph.erase_node(node)
