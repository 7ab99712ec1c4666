"""A simplified FX graph becomes a Relax module: one converter per operator, then the builder."""

import inspect
from typing import Any

import torch
import tvm
from torch.fx import Node

from bnn_compiler.frontend.oracle import Origin
from bnn_compiler.frontend.pytorch.context import Context
from bnn_compiler.frontend.pytorch.converters import HANDLERS
from bnn_compiler.frontend.pytorch.markers import sign as sign_marker
from bnn_compiler.frontend.pytorch.trace import TracedGraph, arguments, describe
from bnn_compiler.frontend.value import Place, Value


def import_graph(traced: TracedGraph) -> tuple[tvm.IRModule, dict[str, Origin]]:
    """The Relax module of a simplified graph and the origins of its values.

    Raises UnsupportedError naming the operator, its module and what is supported.
    """
    context = Context(traced)
    builder = context.builder
    waiting = iter(traced.inputs)
    with builder.main():
        for node in traced.graph.nodes:
            context.node = node
            builder.at(Place(node.name, str(node.meta.get("module_path", "")), describe(node)))
            if node.op == "output":
                for result in _flatten(node.args[0]):
                    builder.output(_result(context, result))
            elif node.op == "placeholder":
                context.env[node] = builder.input(next(waiting).name)
                _remember(context, node)
            elif node.op == "call_function":
                context.env[node] = _call(context, node)
                _remember(context, node)
    return builder.module(), builder.origins


def to_relax(traced: TracedGraph) -> tvm.IRModule:
    """The Relax module of a simplified graph; raises what ``import_graph`` does."""
    return import_graph(traced)[0]


def _call(context: Context, node: Node) -> Value:
    handler = HANDLERS.get(_name(node.target))
    if handler is None:
        known = ", ".join(sorted(HANDLERS))
        raise context.fail(f"this operator cannot be compiled. Supported: {known}")
    expected = node.meta.get("val")
    if isinstance(expected, torch.Tensor) and expected.dtype != torch.float32:
        raise context.fail(f"its result is {expected.dtype}; only float32 can be compiled")
    args, kwargs = arguments(node)
    try:
        bound = inspect.signature(handler).bind(context, *args, **kwargs)
    except TypeError as e:
        raise context.fail(f"this form of the operator cannot be compiled: {e}") from e
    value: Value = handler(*bound.args, **bound.kwargs)
    if isinstance(expected, torch.Tensor) and value.shape != tuple(expected.shape):
        raise context.fail(
            f"its result has shape {list(expected.shape)}, which cannot be compiled (one of"
            f" {list(value.shape)} could)"
        )
    return value


def _result(context: Context, node: Any) -> Value:
    if node not in context.env:
        raise context.fail(f"output {node} does not depend on the input; return it from Python")
    return context.env[node]


def _remember(context: Context, node: Node) -> None:
    """Note which of PyTorch's values the variable of ``node`` is."""
    origin = node.meta.get("origin")
    source, levels = node.meta.get("sign", (None, None))
    if origin is not None:
        context.builder.remember(context.env[node], str(origin), str(source or ""), levels)


def _flatten(out: Any) -> list[Any]:
    return list(out) if isinstance(out, list | tuple) else [out]


def _name(target: Any) -> str:
    if target is sign_marker:
        return "sign"
    return str(getattr(target, "__name__", target)).split(".")[0]
