"""A simplified FX graph becomes a Relax module in NHWC.

Four-dimensional values are [N, C, H, W] in PyTorch and [N, H, W, C] here; a matrix [N, F] is
[N, 1, 1, F]. So a linear layer is a convolution, and a flatten in front of it only says that the
weights of the linear layer are a kernel as large as the image.
"""

import inspect
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import tvm
from torch.fx import Node
from tvm import relax

from bnn_compiler.errors import UnsupportedError
from bnn_compiler.frontend.pytorch.converters import HANDLERS
from bnn_compiler.frontend.pytorch.markers import sign as sign_marker
from bnn_compiler.frontend.pytorch.oracle import Origin
from bnn_compiler.frontend.pytorch.trace import TracedGraph, arguments, describe
from bnn_compiler.frontend.pytorch.value import Value
from bnn_compiler.ops import relax_ops as ops


@dataclass(frozen=True)
class Imported:
    """The Relax module, and for the name of each variable that is a value of PyTorch's, which."""

    module: tvm.IRModule
    origins: Mapping[str, Origin]


class Importer:
    """Walks the graph once; ``env`` maps FX nodes to values."""

    def __init__(self, traced: TracedGraph) -> None:
        self.traced = traced
        self.bb = relax.BlockBuilder()
        self.env: dict[Node, Value] = {}
        self.origins: dict[str, Origin] = {}
        self.node: Node

    def fail(self, why: str) -> UnsupportedError:
        """The error for the current node."""
        return UnsupportedError(f"{describe(self.node)}: {why}")

    def constant(self, node: Any) -> np.ndarray | None:
        """The numpy value of a constant node or Python number, None for anything computed."""
        if isinstance(node, int | float):
            return np.asarray(node, np.float32)
        if isinstance(node, Node) and node.op == "get_attr":
            return self.traced.constants[str(node.target)].detach().float().numpy()
        return None

    def data(self, node: Any) -> Value:
        """The value of a computed node."""
        if isinstance(node, Node) and node in self.env:
            return self.env[node]
        raise self.fail("needs a computed tensor here, not a constant")

    def emit(self, expr: relax.Expr, flat: bool = False) -> Value:
        """Bind ``expr`` to a variable named after its module, a sign after its FX node."""
        path = str(self.node.meta.get("module_path", ""))
        is_sign = self.node.target is sign_marker
        name = self.node.name if is_sign or not path else path
        # Two underscores are for what passes derive from a value (ops/graph.py).
        plain = re.sub(r"[^A-Za-z0-9]+", "_", name)
        return Value(self.bb.emit(expr, name_hint=plain), flat)

    def per_channel(self, value: np.ndarray, like: Value) -> tuple[Value, np.ndarray]:
        """``like``, and a constant that broadcasts along everything but its channels, as [C].

        A flat value whose features are no channels becomes a vector first.
        """
        if value.size == 1:
            channels = ops.shape_of(like.expr)[3]
            return like, np.full(channels, value.item(), np.float32)
        if like.flat:
            like = self.vector(like)
        channels = ops.shape_of(like.expr)[3]
        value = _squeeze_equal(value)
        wanted = (channels,) if like.flat else (channels, 1, 1)
        padded = (1,) * (len(wanted) + 1 - value.ndim) + value.shape
        if padded != (1, *wanted):
            raise self.fail(
                f"a constant operand must be a scalar or one value per channel ({channels}), not of"
                f" shape {tuple(value.shape)}"
            )
        return like, np.ascontiguousarray(value.reshape(-1), np.float32)

    def vector(self, value: Value) -> Value:
        """A flat value with one channel per feature, in PyTorch's order: [N, 1, 1, F]."""
        return value if value.is_vector else self.reshape(value, value.shape)

    def reshape(self, value: Value, shape: Sequence[int]) -> Value:
        """The elements in PyTorch's order as a tensor of 2 or 4 dimensions, moved in memory."""
        full = [*shape, *[1] * (4 - len(shape))]
        nchw = self.bb.emit(relax.op.permute_dims(value.expr, [0, 3, 1, 2]))
        moved = self.bb.emit(relax.op.reshape(nchw, full))
        return self.emit(relax.op.permute_dims(moved, [0, 2, 3, 1]), len(shape) == 2)

    def affine(self, x: Value, scale: np.ndarray, bias: np.ndarray) -> Value:
        """scale * x + bias per channel."""
        parts = [relax.const(np.ascontiguousarray(v, np.float32)) for v in (scale, bias)]
        return self.emit(ops.call_op("affine", [x.expr, *parts]), x.flat)

    def _remember(self, node: Node) -> None:
        """Note which of PyTorch's values the variable of ``node`` is."""
        origin, expr = node.meta.get("origin"), self.env[node].expr
        shape = ops.shape_of(expr)
        if origin is None or not isinstance(expr, relax.Var) or len(shape) != 4:
            return
        source = ""
        if node.target is sign_marker:
            source = str(node.args[0].meta.get("origin", ""))  # type: ignore[union-attr]
        self.origins.setdefault(expr.name, Origin(str(origin), shape, source))

    def run(self) -> Imported:
        """The module; its function is ``main``."""
        ops.register()
        params = [
            relax.Var(i.name, relax.TensorType(list(i.shape), "float32"))
            for i in self.traced.inputs
        ]
        with self.bb.function("main", params), _closing(self.bb):
            with self.bb.dataflow():
                waiting = iter(params)
                results: list[relax.Expr] = []
                for node in self.traced.graph.nodes:
                    self.node = node
                    if node.op == "placeholder":
                        self.env[node] = self._input(next(waiting))
                        self._remember(node)
                    elif node.op == "call_function":
                        self.env[node] = self._call(node)
                        self._remember(node)
                    elif node.op == "output":
                        results = [self._output(n) for n in _flatten(node.args[0])]
                out = self.bb.emit_output(results[0] if len(results) == 1 else relax.Tuple(results))
            self.bb.emit_func_output(out)
        return Imported(self.bb.get(), self.origins)

    def _input(self, var: relax.Var) -> Value:
        shape = ops.shape_of(var)
        if len(shape) == 4:
            return self.emit(relax.op.permute_dims(var, [0, 2, 3, 1]))
        if len(shape) == 2:
            image = self.bb.emit(relax.op.reshape(var, [*shape, 1, 1]))
            return self.emit(relax.op.permute_dims(image, [0, 2, 3, 1]), True)
        raise self.fail(f"an input has shape {list(shape)}; supported: [N, C, H, W] and [N, F]")

    def _output(self, node: Any) -> relax.Expr:
        if node not in self.env:
            raise self.fail(f"output {node} does not depend on the input; return it from Python")
        value = self.env[node]
        n, h, w, c = ops.shape_of(value.expr)
        nchw = self.bb.emit(relax.op.permute_dims(value.expr, [0, 3, 1, 2]), name_hint="output")
        if value.flat:
            return self.bb.emit(relax.op.reshape(nchw, [n, h * w * c]), name_hint="output")
        return nchw

    def _call(self, node: Node) -> Value:
        handler = HANDLERS.get(_name(node.target))
        if handler is None:
            known = ", ".join(sorted(HANDLERS))
            raise self.fail(f"this operator cannot be compiled. Supported: {known}")
        expected = node.meta.get("val")
        if isinstance(expected, torch.Tensor) and expected.dtype != torch.float32:
            raise self.fail(f"its result is {expected.dtype}; only float32 can be compiled")
        args, kwargs = arguments(node)
        try:
            bound = inspect.signature(handler).bind(self, *args, **kwargs)
        except TypeError as e:
            raise self.fail(f"this form of the operator cannot be compiled: {e}") from e
        value: Value = handler(*bound.args, **bound.kwargs)
        if isinstance(expected, torch.Tensor) and value.shape != tuple(expected.shape):
            raise self.fail(
                f"its result has shape {list(expected.shape)}, which cannot be compiled (one of"
                f" {list(value.shape)} could)"
            )
        return value


@contextmanager
def _closing(builder: relax.BlockBuilder) -> Iterator[None]:
    """An error ends the function's block, which TVM would report as left open."""
    try:
        yield
    except BaseException:
        builder._end_block()
        raise


def _squeeze_equal(value: np.ndarray) -> np.ndarray:
    """An expanded constant without its repetition over batch, height and width."""
    if value.ndim != 4:
        return value
    core = value[:1, :, :1, :1]
    return core if np.array_equal(np.broadcast_to(core, value.shape), value) else value


def _flatten(out: Any) -> list[Any]:
    return list(out) if isinstance(out, list | tuple) else [out]


def _name(target: Any) -> str:
    if target is sign_marker:
        return "sign"
    return str(getattr(target, "__name__", target)).split(".")[0]


def to_relax(traced: TracedGraph) -> tvm.IRModule:
    """The Relax module of a simplified graph; raises what ``import_graph`` does."""
    return import_graph(traced).module


def import_graph(traced: TracedGraph) -> Imported:
    """The Relax module of a simplified graph and the origins of its values.

    Raises UnsupportedError naming the operator, its module and what is supported.
    """
    return Importer(traced).run()
