"""PoolBeforeSign: a max-pool of signs becomes the sign of a max-pool."""

import numpy as np
import tvm
from tvm import relax

from bnn_compiler.ops import relax_ops as ops
from bnn_compiler.ops.graph import Graph, affine_operands, bind, derived


class PoolBeforeSign:
    """max_pool2d(h * bnn.sign(x) + c) -> h * bnn.sign(max_pool2d(x)) + c, one h > 0 by channel.

        s = bnn.sign(x)                          q = max_pool2d(x)
        p = max_pool2d(s)               ->       p = bnn.sign(q)

    A sign that rises keeps the order of its arguments, so both are equal, zeros and padding
    included. The convolution behind it then reads bits, and HoistSign takes the pool to them.
    """

    def __call__(self, module: tvm.IRModule) -> tvm.IRModule:
        graph = Graph.of(module)
        for var, value in list(graph.values.items()):
            if ops.is_op(value, "relax.nn.max_pool2d"):
                _swap(graph, var, value)
        return graph.module()


def _swap(graph: Graph, var: relax.Var, pool: relax.Call) -> None:
    steps: list[relax.Call] = []
    cursor = pool.args[0]
    while (found := affine_operands(graph, cursor)) is not None:
        if np.any(found[0] <= 0):
            return
        steps.append(graph.values[cursor])
        cursor = steps[-1].args[0]
    sign = graph.value(cursor)
    if sign is None or not ops.is_op(sign, "relax.bnn.sign"):
        return
    new: list[tuple[relax.Var, relax.Expr]] = []

    def emit(what: str, expr: relax.Expr) -> relax.Var:
        new.append((bind(expr, derived(var.name, what)), expr))
        return new[-1][0]

    pooled = emit("pooled", relax.Call(pool.op, [sign.args[0]], pool.attrs, pool.ty_args))
    value = emit("sign", relax.Call(sign.op, [pooled], sign.attrs, sign.ty_args))
    for index, step in enumerate(reversed(steps)):
        moved = relax.Call(step.op, [value, *step.args[1:]], step.attrs, step.ty_args)
        value = emit(f"scaled{index}", moved)
    *inner, (_, last) = new
    graph.replace(var, [*inner, (var, last)])
