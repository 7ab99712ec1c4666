"""Indexing by constant masks: how many elements they keep is known before any run.

torch.export gives what a mask selects an unknown size, even if the mask is a buffer:

    y = x[:, mask]  ->  y = x[:, [0, 3, 6]]
"""

import operator
from collections.abc import Callable
from typing import Any, cast

import numpy as np
import torch
from torch._ops import OpOverload
from torch.export import ExportedProgram
from torch.fx import GraphModule, Interpreter, Node
from torch.fx import traceback as meta

from bnn_compiler.frontend.pytorch import record

aten = torch.ops.aten
Place = Callable[[Node], dict[str, str]]


def sized(
    program: ExportedProgram, inputs: tuple[torch.Tensor, ...], place: Place
) -> ExportedProgram:
    """``program`` without unknown sizes that constants decide; as it is if it has none.

    ``place`` says what meta["custom"] of each operator is to hold. Raises what torch raises.
    """
    if not any(_is_unknown(node) for node in program.graph.nodes):
        return program
    module: Any = program.module(check_guards=False)
    for node in module.graph.nodes:
        node.meta["custom"] = (node.meta.get("custom") or {}) | place(node)
    if not _settled(module):
        return program
    straight = record.Straight(module.graph)
    for node in module.graph.find_nodes(op="get_attr"):
        straight.hold(str(node.target), operator.attrgetter(str(node.target))(module).detach())
    straight.call_as(module)
    with torch.no_grad(), meta.preserve_node_meta():
        return torch.export.export(straight, inputs, strict=False)


def _is_unknown(node: Node) -> bool:
    value = node.meta.get("val")
    return isinstance(value, torch.Tensor) and not all(isinstance(n, int) for n in value.shape)


def _settled(module: GraphModule) -> bool:
    """Replace constants of unknown size, and constant masks by indices; whether there were any."""
    known: dict[Node, Any] = {}
    run, settled = Interpreter(module), False
    for node in list(module.graph.nodes):
        if node.op == "get_attr":
            known[node] = operator.attrgetter(str(node.target))(module)
        elif not isinstance(node.target, OpOverload):
            continue
        elif _writes(node):
            # What it writes to is no constant.
            for source in node.all_input_nodes:
                known.pop(source, None)
        elif _is_sure(node) and all(n in known for n in node.all_input_nodes):
            run.env = known
            known[node] = run.run_node(node)
            if _is_unknown(node) and isinstance(known[node], torch.Tensor):
                node.replace_all_uses_with(_constant(module, node, known, known[node]))
                settled = True
        elif node.target is aten.masked_select.default:
            settled |= _select_indexed(module, node, known)
        elif node.target is aten.index.Tensor:
            settled |= _index_settled(module, node, known)
    module.graph.eliminate_dead_code()
    module.recompile()
    return settled


def _writes(node: Node) -> bool:
    """Whether it changes numbers of an argument; detach_ of a constant made in forward does not."""
    schema = node.target._schema  # type: ignore[union-attr]
    return schema.is_mutable and node.target is not aten.detach_.default


def _is_sure(node: Node) -> bool:
    """Whether it gives the same of the same, in every run."""
    return torch.Tag.nondeterministic_seeded not in node.target.tags  # type: ignore[union-attr]


def _constant(
    module: GraphModule, before: Node, known: dict[Node, Any], tensor: torch.Tensor
) -> Node:
    name = f"{before.name}_{len(known)}"
    module.register_buffer(name, tensor)
    with module.graph.inserting_before(before):
        node = module.graph.get_attr(name)
    known[node] = tensor
    return node


def _index_settled(module: GraphModule, node: Node, known: dict[Node, Any]) -> bool:
    """index(x, [mask]) -> index(x, [where the mask is true]), for each constant mask."""
    x, given = node.args
    given = cast(list[Any], given)
    indices: list[Any] = []
    for index in given:
        mask = known.get(index)
        if isinstance(mask, torch.Tensor) and mask.dtype in (torch.bool, torch.uint8):
            places = mask.nonzero(as_tuple=True)
            indices += [_constant(module, node, known, place) for place in places]
        else:
            indices.append(index)
    node.args = (x, indices)
    return indices != given


def _select_indexed(module: GraphModule, node: Node, known: dict[Node, Any]) -> bool:
    """masked_select(x, mask) -> index(x, [where the mask is true]), for a constant mask."""
    x, mask = (cast(Node, v) for v in node.args)
    if mask not in known:
        return False
    shape = np.broadcast_shapes(x.meta["val"].shape, known[mask].shape)
    whole = known[mask].expand(shape)
    with module.graph.inserting_before(node):
        wide = module.graph.call_function(aten.expand.default, (x, list(shape)))
        wide.meta = dict(node.meta)
    places = whole.nonzero(as_tuple=True)
    node.target = aten.index.Tensor
    node.args = (wide, [_constant(module, node, known, place) for place in places])
    return True
