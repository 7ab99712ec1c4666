"""FoldRamps: a ReLU of either side of a value, each scaled, becomes one PReLU."""

from dataclasses import dataclass

import numpy as np
import tvm
from numpy.typing import NDArray
from tvm import relax

from bnn_compiler.ops import relax_ops as ops
from bnn_compiler.ops.graph import Graph, affine_operands, bind, derived

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
    """outer * relu(inner * x) + bias, per channel."""

    x: relax.Expr
    inner: Vector
    outer: Vector
    bias: Vector


def _chain(graph: Graph, expr: relax.Expr) -> tuple[relax.Expr, Vector, Vector]:
    """What affine maps up to ``expr`` start from, their scale and their bias."""
    channels = ops.shape_of(expr)[-1]
    scale, bias = np.ones(channels), np.zeros(channels)
    while (found := affine_operands(graph, expr)) is not None:
        inner, shift = (v.astype(np.float64) for v in found)
        scale, bias = scale * inner, scale * shift + bias
        expr = graph.values[expr].args[0]
    return expr, scale, bias


def _ramp(graph: Graph, expr: relax.Expr) -> _Ramp | None:
    relu, outer, bias = _chain(graph, expr)
    value = graph.value(relu)
    if value is None or not ops.is_op(value, "relax.clip"):
        return None
    if [float(a.value) for a in value.args[1:3]] != [0.0, np.inf]:
        return None
    x, inner, shift = _chain(graph, value.args[0])
    return None if shift.any() else _Ramp(x, inner, outer, bias)


def _fold(graph: Graph, var: relax.Var, value: relax.Call) -> None:
    sides = [_ramp(graph, a) for a in value.args]
    if sides[0] is None or sides[1] is None:
        return
    right, left = sides if np.all(sides[0].inner > 0) else sides[::-1]
    if not right.x.same_as(left.x) or np.any(right.inner <= 0) or np.any(left.inner >= 0):
        return
    if ops.shape_of(right.x) != ops.shape_of(var):
        return
    rise, fall = right.outer * right.inner, left.outer * left.inner
    if np.any(rise == 0):
        return
    slope = relax.const((fall / rise).astype(np.float32))
    ramp = relax.op.nn.prelu(right.x, slope, axis=3)
    bent = bind(ramp, derived(var.name, "ramp"))
    parts = [relax.const(v.astype(np.float32)) for v in (rise, right.bias + left.bias)]
    graph.replace(var, [(bent, ramp), (var, ops.call_op("affine", [bent, *parts]))])
