"""A simplified FX graph becomes a Relax module: one converter per operator, then the builder."""

import inspect
from collections.abc import Callable, Iterator
from typing import Any

import torch
import tvm
from torch.fx import Node

from bnn_compiler.errors import UnsupportedError
from bnn_compiler.frontend import general
from bnn_compiler.frontend.incomplete import Incomplete, Problem
from bnn_compiler.frontend.oracle import Origin
from bnn_compiler.frontend.pytorch import supported
from bnn_compiler.frontend.pytorch.context import Context
from bnn_compiler.frontend.pytorch.convert_general import GENERAL
from bnn_compiler.frontend.pytorch.convert_tokens import TOKENS
from bnn_compiler.frontend.pytorch.converters import HANDLERS
from bnn_compiler.frontend.pytorch.markers import sign as sign_marker
from bnn_compiler.frontend.pytorch.trace import TensorInfo, TracedGraph, arguments, describe
from bnn_compiler.frontend.value import Place, Value
from bnn_compiler.ops.primitives import DTYPES

#: Dtypes of outputs.
OUTPUTS = ("float32", *DTYPES)
#: What is computed on images and matrices even if its input is a plain value: all else stays one.
_COMPUTED = (
    *("conv2d", "linear", "batch_norm", "max_pool2d", "max_pool2d_with_indices", "avg_pool2d"),
    *("sign", "conv1d", "conv_transpose1d", "conv_transpose2d", "max_pool1d", "avg_pool1d"),
    *("adaptive_avg_pool2d", "upsample_nearest2d", "_upsample_nearest_exact2d"),
    *("upsample_bilinear2d", "_native_batch_norm_legit_no_training"),
)


def import_graph(traced: TracedGraph) -> tuple[tvm.IRModule, dict[str, Origin]]:
    """The Relax module of a simplified graph and the origins of its values.

    Raises Incomplete naming every operator that cannot be compiled, and its module.
    """
    walk = _Walk(Context(traced), iter(traced.inputs))
    builder = walk.context.builder
    try:
        with builder.main():
            for node in traced.graph.nodes:
                walk.add(node)
    # Behind what cannot be compiled nothing needs to fit; without it, errors are errors.
    except Exception as e:
        if walk.first is None:
            raise
        raise Incomplete(walk.first, walk.problems, None) from e
    if walk.first is not None:
        raise Incomplete(walk.first, walk.problems, builder.module())
    return builder.module(), builder.origins


class _Walk:
    """Imports one node after the other.

    A result that cannot be computed is an input from there on, if it has the form of one, and what
    it was made of are outputs. What reads a result without that form is passed over, and named only
    if there is no converter for it.
    """

    def __init__(self, context: Context, inputs: Iterator[TensorInfo]) -> None:
        self.context = context
        #: What an error says of the first problem.
        self.first: str | None = None
        self.problems: list[Problem] = []
        self._inputs = inputs
        self._missing: set[Node] = set()
        #: What is no output any more: inputs, and what already is one.
        self._passed: set[Node] = set()

    def add(self, node: Node) -> None:
        """Import one node."""
        context = self.context
        place = Place(node.name, str(node.meta.get("module_path", "")), describe(node))
        context.node = node
        context.builder.at(place)
        if node.op == "output":
            for result in _flatten(node.args[0]):
                if result not in self._missing and not self._is_extra(result):
                    context.builder.output(_result(context, result))
        elif node.op == "placeholder":
            context.env[node] = _input(context, next(self._inputs))
            _remember(context, node)
        elif node.op == "call_function":
            self._call(node, place)

    def _call(self, node: Node, place: Place) -> None:
        context = self.context
        known = _name(node.target) in HANDLERS or _name(node.target) in GENERAL
        if known and any(n in self._missing for n in node.all_input_nodes):
            self._stand_in(node)
            return
        try:
            context.env[node] = _call(context, node)
        except UnsupportedError as e:
            why = str(e).removeprefix(f"{place.text}: ")
            line = str(node.meta.get("line", ""))
            self.problems.append(Problem(why, str(node.target), place.layer, line))
            self.first = self.first or str(e)
            self._stand_in(node)
        else:
            _remember(context, node)

    def _is_extra(self, node: Node) -> bool:
        """Whether, behind a problem, ``node`` says nothing as an output."""
        return self.first is not None and node in self._passed

    def _stand_in(self, node: Node) -> None:
        for source in node.all_input_nodes:
            computed = source.op == "call_function" and source in self.context.env
            if computed and source not in self._passed:
                self._passed.add(source)
                made = self.context.env[source]
                if isinstance(made, Value):
                    self.context.builder.output(made)
        self._passed.add(node)
        value = node.meta.get("val")
        try:
            if not isinstance(value, torch.Tensor) or value.dim() not in (2, 4):
                raise self.context.fail("no input has this form")
            self.context.env[node] = self.context.builder.input(node.name, tuple(value.shape))
        except UnsupportedError:
            self._missing.add(node)


def _input(context: Context, info: TensorInfo) -> Value:
    if info.dtype == torch.float32:
        return context.builder.input(info.name)
    dtype = str(info.dtype).removeprefix("torch.")
    return general.integers(context.builder, info.name, info.shape, dtype)


def to_relax(traced: TracedGraph) -> tvm.IRModule:
    """The Relax module of a simplified graph; raises what ``import_graph`` does."""
    return import_graph(traced)[0]


def _call(context: Context, node: Node) -> Value | list[Value]:
    """By the converter of images and matrices, else by that of plain values.

    What reads a plain value is one, unless only the first computes it.
    """
    name = _name(node.target)
    handlers = [t[name] for t in (HANDLERS, GENERAL) if name in t]
    if not handlers:
        raise context.fail(supported.instead_of(name))
    if name == "getitem":
        several = context.env.get(node.args[0])  # type: ignore[arg-type]
        if isinstance(several, list):
            return _one_of(context, several, int(str(node.args[1])))
    expected = node.meta.get("val")
    dtype = expected.dtype if isinstance(expected, torch.Tensor) else torch.float32
    sources = [context.env.get(n) for n in node.all_input_nodes]
    plain = any(isinstance(v, list) or (isinstance(v, Value) and _stays(v)) for v in sources)
    if dtype != torch.float32:
        # Truth values and integers are plain values only.
        handlers = [GENERAL[name]] if name in GENERAL and not dtype.is_floating_point else []
        if not handlers:
            raise context.fail(f"its result is {dtype}; only float32 can be compiled")
    else:
        tokens = _by_tokens(context, node, name)
        if tokens is not None:
            return tokens
        if plain and name not in _COMPUTED:
            handlers.reverse()
    first: UnsupportedError | None = None
    for handler in handlers:
        try:
            found: Value | list[Value] = _converted(context, node, handler)
            return found
        except UnsupportedError as e:
            first = first or e
    assert first is not None
    raise first


def _by_tokens(context: Context, node: Node, name: str) -> Value | list[Value] | None:
    """By the converter of tokens; None for what is another's."""
    if name not in TOKENS:
        return None
    try:
        return _converted(context, node, TOKENS[name])
    except UnsupportedError:
        return None


def _stays(value: Value) -> bool:
    """Whether what reads it is better computed on plain values: rows of an image are not."""
    return value.plain and (value.image is None or len(value.shape) != 3)


def _one_of(context: Context, values: list[Value], index: int) -> Value:
    if index >= len(values):
        raise context.fail(f"result {index} of this operator is not computed")
    return values[index]


def _converted(context: Context, node: Node, handler: Callable[..., Any]) -> Value | list[Value]:
    args, kwargs = arguments(node)
    expected = node.meta.get("val")
    shape = tuple(expected.shape) if isinstance(expected, torch.Tensor) else None
    if shape is not None and not all(isinstance(n, int) for n in shape):
        raise context.fail(
            "how large its result is depends on values; torch.where(mask, x, 0) keeps the shape"
        )
    try:
        bound = inspect.signature(handler).bind(context, *args, **kwargs)
    except TypeError as e:
        raise context.fail(f"this form of the operator cannot be compiled: {e}") from e
    value: Value | list[Value] = handler(*bound.args, **bound.kwargs)
    if not isinstance(value, Value) or shape is None:
        return value
    if len(shape) == 3 and value.shape == (*shape[:2], 1, shape[2]):
        value = general.row(context.builder, value)
    if value.shape != shape:
        raise context.fail(
            f"its result has shape {list(shape)}, which cannot be compiled (one of"
            f" {list(value.shape)} could)"
        )
    return value


def _result(context: Context, node: Any) -> Value:
    found = context.env.get(node)
    constant = context.constant(node)
    if constant is not None:
        found = general.call(context.builder, "reshape", [constant], constant.shape)
    assert isinstance(found, Value)
    dtype = str(node.meta["val"].dtype).removeprefix("torch.")
    if dtype not in OUTPUTS:
        raise context.fail(f"output {node} is {dtype}; {', '.join(OUTPUTS)} can be one")
    return general.result(context.builder, found, dtype)


def _remember(context: Context, node: Node) -> None:
    """Note which of PyTorch's values the variable of ``node`` is."""
    origin, value = node.meta.get("origin"), context.env[node]
    source, levels = node.meta.get("sign", (None, None))
    if origin is not None and isinstance(value, Value):
        context.builder.remember(value, str(origin), str(source or ""), levels)


def _flatten(out: Any) -> list[Any]:
    return list(out) if isinstance(out, list | tuple) else [out]


def _name(target: Any) -> str:
    if target is sign_marker:
        return "sign"
    return str(getattr(target, "__name__", target)).split(".")[0]
