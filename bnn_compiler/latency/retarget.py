"""A traced network at other counts, without tracing again."""

from collections.abc import Mapping
from typing import Any

import torch
from torch.fx import Graph, Node

from bnn_compiler.frontend.pytorch.trace import TensorInfo, TracedGraph, op_name
from bnn_compiler.latency.cuts import Cut, times_of
from bnn_compiler.latency.dims import Point, groups, size
from bnn_compiler.latency.groups import Groups, metadata
from bnn_compiler.latency.take import take, with_zeros

#: Operators whose argument of this name is the shape of their result.
_SHAPES = {"view": "size", "reshape": "shape", "_unsafe_view": "size", "expand": "size"}


def retarget(found: Groups, point: Point, zeros: Mapping[str, bool]) -> TracedGraph:
    """What tracing the crop to ``point`` would give, its constants included.

    ``zeros`` say of some constants whether they shall have elements 0.
    """
    traced, graph = found.traced, Graph()
    layers = {layer.node: layer for layer in found.layers}
    constants, env = {}, dict[Node, Node]()
    inputs = []
    for node in traced.graph.nodes:
        new = env[node] = graph.node_copy(node, lambda n: env[n])
        new.meta = dict(node.meta)
        dims = found.values.get(node)
        if dims is not None:
            new.meta["val"] = _value(node.meta.get("val"), dims, point)
        if node.op == "get_attr":
            assert isinstance(dims, list)
            name = str(node.target)
            constants[name] = take(traced.constants[name], dims, point)
            if name in zeros:
                constants[name] = with_zeros(constants[name], zeros[name])
        elif node.op == "placeholder":
            inputs.append(TensorInfo(node.name, found.shape(node, point), node.meta["val"].dtype))
        elif op_name(node) in _SHAPES:
            _set(new, _SHAPES[op_name(node)], list(found.shape(node, point)))
        elif _shortened(node, new, found, point):
            continue
        elif op_name(node) == "slice" and dims == found.values[node.args[0]]:
            # A dimension that is taken whole.
            env[node] = new.all_input_nodes[0]
            graph.erase_node(new)
        elif node.name in layers and layers[node.name].convolution:
            _set(new, "groups", groups(layers[node.name], point))
    return TracedGraph(graph, constants, tuple(inputs))


def _shortened(node: Node, new: Node, found: Groups, point: Point) -> bool:
    """Whether ``new`` was part of a shortcut, which now gives as many channels as its sum has."""
    times = times_of(node, found.cuts, point)
    if node in found.cuts:
        _cut(new, found.cuts[node], point)
    elif times is not None:
        _repeat(new, times)
    return node in found.cuts or times is not None


def _cut(node: Node, cut: Cut, point: Point) -> None:
    """Let a shortcut give as many channels as its sum has."""
    kept = size(cut.target, point)
    if cut.pads:
        _set(node, "pad", [0, 0, 0, 0, 0, kept - size(cut.source, point)])
        return
    node.target = torch.ops.aten.slice.Tensor
    node.args, node.kwargs = (node.args[0], 1, 0, kept), {}


def _repeat(node: Node, times: int) -> None:
    """Give a repetition of channels another number of times."""
    source = node.all_input_nodes[0]
    if op_name(node) == "cat":
        node.update_arg(0, [source] * times)
    else:
        node.update_arg(1, [1, times, 1, 1])
    shape = list(source.meta["val"].shape)
    shape[1] *= times
    node.meta["val"] = metadata(tuple(shape), source.meta["val"])


def _value(value: Any, dims: Any, point: Point) -> Any:
    if isinstance(dims, list):
        return metadata(tuple(size(d, point) for d in dims), value)
    if isinstance(dims, tuple) and isinstance(value, list | tuple):
        return tuple(
            v if d is None else _value(v, d, point) for v, d in zip(value, dims, strict=False)
        )
    return value


def _set(node: Node, name: str, value: Any) -> None:
    """Give an argument of an aten operator another value."""
    declared = [a.name for a in node.target._schema.arguments]  # type: ignore[union-attr]
    place = declared.index(name)
    if place < len(node.args):
        node.update_arg(place, value)
    else:
        node.update_kwarg(name, value)
