"""MergeDuplicatedConv: ReActNet's two parallel convolutions become one of twice the channels."""

import numpy as np
import tvm
import tvm_ffi
from tvm import relax

from bnn_compiler.ops import relax_ops as ops
from bnn_compiler.ops.graph import Graph, array, bind, derived


class MergeDuplicatedConv:
    """Branches that convolve the same bits and add the same shortcut become one convolution.

    a = affine(bnn.conv2d(x, w1), s1, b1) + r        y = affine(bnn.conv2d(x, w1|w2), s1|s2,
    b = affine(bnn.conv2d(x, w2), s2, b2) + r   ->                b1|b2) + bnn.tile(r)
    y = concat(a, b)
    """

    def __call__(self, module: tvm.IRModule) -> tvm.IRModule:
        graph = Graph.of(module)
        for var, value in list(graph.values.items()):
            if ops.is_op(value, "relax.concat"):
                _merge(graph, var, list(value.args[0].fields))
        return graph.module()


def _branch(graph: Graph, var: relax.Expr) -> tuple[relax.Call, relax.Call, relax.Expr] | None:
    """(convolution, affine, shortcut) of one branch."""
    add = graph.value(var)
    if add is None or not ops.is_op(add, "relax.add") or graph.only_user(var) is None:
        return None
    if ops.shape_of(add.args[0]) != ops.shape_of(add.args[1]):
        return None
    for side, other in ((0, 1), (1, 0)):
        affine = graph.value(add.args[side])
        if affine is None or not ops.is_op(affine, "relax.bnn.affine"):
            continue
        conv = graph.value(affine.args[0])
        if ops.anchor_name(conv) == "conv2d" and graph.only_user(affine.args[0]) is not None:
            return conv, affine, add.args[other]
    return None


def _merge(graph: Graph, var: relax.Var, parts: list[relax.Expr]) -> None:
    branches = [b for p in parts if (b := _branch(graph, p)) is not None]
    if len(branches) != len(parts):
        return
    conv, _, shortcut = branches[0]
    for other, _, r in branches[1:]:
        same = r.same_as(shortcut) and other.args[0].same_as(conv.args[0])
        if not same or not tvm_ffi.structural_equal(other.attrs, conv.attrs):
            return
    if int(conv.attrs["groups"]) != 1:
        return

    def joined(values: list[relax.Expr]) -> relax.Expr:
        return relax.const(np.concatenate([array(v) for v in values]))

    merged = relax.Call(
        conv.op, [conv.args[0], joined([c.args[1] for c, _, _ in branches])], conv.attrs
    )
    conv_var = bind(merged, derived(var.name, "conv"))
    scales = [joined([a.args[i] for _, a, _ in branches]) for i in (1, 2)]
    affine = ops.call_op("affine", [conv_var, *scales])
    affine_var = bind(affine, derived(var.name, "bn"))
    channels = ops.shape_of(shortcut)[3] * len(parts)
    tile = ops.anchor("tile", [shortcut], start=0, channels=channels)
    tile_var = bind(tile, derived(var.name, "tile"))
    graph.replace(
        var,
        [
            (conv_var, merged),
            (affine_var, affine),
            (tile_var, tile),
            (var, relax.op.add(affine_var, tile_var)),
        ],
    )
