"""FoldRamps: a ReLU of either side of a value, each scaled, becomes one PReLU."""

from dataclasses import dataclass

import numpy as np
import tvm
from numpy.typing import NDArray
from tvm import relax

from bnn_compiler.ops import relax_ops as ops
from bnn_compiler.ops.graph import Graph, affine, affine_operands, bind, derived

Vector = NDArray[np.float64]


class FoldRamps:
    """a * relu(x) - b * relu(-x) -> a * prelu(x, b / a), AdaBin's Maxout, where no a is 0.

        p = bnn.affine(clip(x, 0, inf), a, c)
        q = bnn.affine(clip(-x, 0, inf), -b, d)     ->     r = nn.prelu(x, b / a)
        y = add(p, q)                                      y = bnn.affine(r, a, c + d)

    Where x is continuous y is then seen to be 0 by accident only.
    """

    def __call__(self, module: tvm.IRModule) -> tvm.IRModule:
        graph = Graph.of(module)
        for var, value in list(graph.values.items()):
            if ops.is_op(value, "relax.add"):
                _fold(graph, var, value)
        return graph.module()


@dataclass(frozen=True)
class _Ramp:
    """outer * relu(inner * x) + bias per channel, for each x of ``inner``."""

    inner: dict[relax.Expr, Vector]
    outer: Vector
    bias: Vector


def _chain(graph: Graph, expr: relax.Expr) -> list[tuple[relax.Expr, Vector, Vector]]:
    """(x, scale, bias) of which ``expr`` is scale * x + bias, from itself on."""
    channels = ops.shape_of(expr)[-1]
    scale, bias = np.ones(channels), np.zeros(channels)
    chain = [(expr, scale, bias)]
    while (found := affine_operands(graph, expr)) is not None:
        inner, shift = (v.astype(np.float64) for v in found)
        scale, bias = scale * inner, scale * shift + bias
        expr = graph.values[expr].args[0]
        chain.append((expr, scale, bias))
    return chain


def _ramp(graph: Graph, expr: relax.Expr) -> _Ramp | None:
    relu, outer, bias = _chain(graph, expr)[-1]
    value = graph.value(relu)
    if value is None or not ops.is_op(value, "relax.clip"):
        return None
    if [float(a.value) for a in value.args[1:3]] != [0.0, np.inf]:
        return None
    inner = {x: scale for x, scale, shift in _chain(graph, value.args[0]) if not shift.any()}
    return _Ramp(inner, outer, bias)


def _fold(graph: Graph, var: relax.Var, value: relax.Call) -> None:
    one, other = (_ramp(graph, a) for a in value.args)
    if one is None or other is None:
        return
    x = next((x for x in one.inner if x in other.inner), None)
    if x is None or ops.shape_of(x) != ops.shape_of(var):
        return
    right, left = (one, other) if np.all(one.inner[x] > 0) else (other, one)
    if np.any(right.inner[x] <= 0) or np.any(left.inner[x] >= 0):
        return
    rise, fall = right.outer * right.inner[x], left.outer * left.inner[x]
    if np.any(rise == 0):
        return
    slope = relax.const((fall / rise).astype(np.float32))
    ramp = relax.op.nn.prelu(x, slope, axis=3)
    bent = bind(ramp, derived(var.name, "ramp"))
    graph.replace(var, [(bent, ramp), (var, affine(bent, rise, right.bias + left.bias))])
