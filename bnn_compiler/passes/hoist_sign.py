"""HoistSign: a sign after a max-pool is taken before it, so that the pool works on bits."""

import numpy as np
import tvm
from tvm import relax

from bnn_compiler.ops import relax_ops as ops
from bnn_compiler.ops.epilogue import STEPS, Mask
from bnn_compiler.ops.graph import Graph, array, bind, derived
from bnn_compiler.ops.window import Window
from bnn_compiler.passes.elementwise import elementwise
from bnn_compiler.passes.fold_affine import is_sign_bits


class HoistSign:
    """Only where every step in between is monotone in each channel.

        p = max_pool2d(c)            d = chain(c)
        q = chain(p)            ->   e = sign bits of d
        e = sign bits of q           e' = bnn.bits_max_pool2d(e, flip)

    ``flip`` marks the channels where the chain decreases (a negative batch-norm gain): there the
    sign of the maximum is the AND of the signs. Fires when ``c`` comes from a binary convolution.
    """

    def __call__(self, module: tvm.IRModule) -> tvm.IRModule:
        graph = Graph.of(module)
        for var, value in list(graph.values.items()):
            if is_sign_bits(value):
                _hoist(graph, var, value)
        return graph.module()


def _chain(graph: Graph, start: relax.Expr) -> tuple[list[relax.Var], relax.Var] | None:
    """The monotone steps from the sign back to the max-pool, last step first, and the pool."""
    steps: list[relax.Var] = []
    cursor = start
    while (value := graph.value(cursor)) is not None and graph.only_user(cursor) is not None:
        if ops.is_op(value, "relax.nn.max_pool2d"):
            return steps, cursor
        if _falls(value) is None:
            return None
        steps.append(cursor)
        cursor = value.args[0]
    return None


def _falls(value: relax.Expr) -> Mask | bool | None:
    """The channels in which ``value`` falls as its first argument rises; None if not monotone."""
    step = elementwise(value)
    falls = None if step is None else STEPS[step.kind].falls
    return falls(*map(array, step.operands)) if step is not None and falls is not None else None


def _from_binary_conv(graph: Graph, expr: relax.Expr) -> bool:
    while (value := graph.value(expr)) is not None:
        if ops.anchor_name(value) == "conv2d":
            return True
        if graph.only_user(expr) is None or not ops.is_op(value, "relax.bnn.affine"):
            return False
        expr = value.args[0]
    return False


def _hoist(graph: Graph, var: relax.Var, sign: relax.Call) -> None:
    found = _chain(graph, sign.args[0])
    if found is None:
        return
    steps, pool_var = found
    pool = graph.values[pool_var]
    if not _from_binary_conv(graph, pool.args[0]):
        return
    channels = ops.shape_of(pool.args[0])[3]
    decreasing = np.zeros(channels, bool)
    cursor, new = pool.args[0], list[tuple[relax.Var, relax.Expr]]()
    for step in reversed(steps):
        value = graph.values[step]
        decreasing ^= _falls(value)
        moved = relax.Call(value.op, [cursor, *value.args[1:]], value.attrs, value.ty_args)
        cursor = bind(moved, derived(step.name, "before_pool"))
        new.append((cursor, moved))
    bits = relax.Call(sign.op, [cursor, *sign.args[1:]], sign.attrs)
    bits_var = bind(bits, derived(var.name, "before_pool"))
    padded = np.zeros(ops.words(channels) * 32, bool)
    padded[:channels] = decreasing
    flip = np.packbits(padded, bitorder="little").view(np.uint32)
    window = Window.of(pool.attrs, pool.attrs.pool_size)
    pooled = ops.call_op(
        "bits_max_pool2d",
        [bits_var, relax.const(flip)],
        **window.attrs(),
        channels=channels,
    )
    graph.replace(var, [*new, (bits_var, bits), (var, pooled)])
