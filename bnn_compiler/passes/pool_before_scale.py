"""PoolBeforeScale: a max-pool of scaled signs becomes a scaled max-pool of signs."""

import numpy as np
import tvm
from tvm import relax

from bnn_compiler.ops import relax_ops as ops
from bnn_compiler.ops.graph import Graph, affine_operands, bind, derived


class PoolBeforeScale:
    """max_pool2d(h * bnn.sign(x) + c) -> h * max_pool2d(bnn.sign(x)) + c, where every h > 0.

        u = bnn.affine(bnn.sign(x), h, c)        q = max_pool2d(bnn.sign(x))
        p = max_pool2d(u)               ->       p = bnn.affine(q, h, c)

    BinarizeConv then reads the pool as bits.
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
    if not steps or sign_below_pools(graph, cursor) is None:
        return
    value = relax.Call(pool.op, [cursor, *pool.args[1:]], pool.attrs, pool.ty_args)
    new = [(bind(value, derived(var.name, "signs")), value)]
    for index, step in enumerate(reversed(steps)):
        value = relax.Call(step.op, [new[-1][0], *step.args[1:]], step.attrs, step.ty_args)
        new.append((bind(value, derived(var.name, f"scaled{index}")), value))
    *inner, (_, last) = new
    graph.replace(var, [*inner, (var, last)])


def sign_below_pools(
    graph: Graph, expr: relax.Expr
) -> tuple[relax.Var, relax.Call, list[relax.Var]] | None:
    """The sign that ``expr`` is or is pooled from: its variable, its call, the max-pools in order.

    None for anything else.
    """
    pools: list[relax.Var] = []
    while (value := graph.value(expr)) is not None and ops.is_op(value, "relax.nn.max_pool2d"):
        pools.insert(0, expr)
        expr = value.args[0]
    if value is None or not ops.is_op(value, "relax.bnn.sign"):
        return None
    return expr, value, pools
