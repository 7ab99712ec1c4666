"""FoldTile: channels of channels are read from where they all are."""

import tvm
from tvm import relax

from bnn_compiler.ops import relax_ops as ops
from bnn_compiler.ops.graph import Graph


class FoldTile:
    """A tile that is cut is a tile, and one of all channels is none.

    bnn.tile(bnn.tile(x, s), t) -> bnn.tile(x, s + t)   if t ends within the inner tile
    bnn.tile(x, 0)              -> x                    if it has the channels of x
    """

    def __call__(self, module: tvm.IRModule) -> tvm.IRModule:
        graph = Graph.of(module)
        for var, value in list(graph.values.items()):
            if ops.is_op(value, "relax.bnn.tile"):
                _fold(graph, var, value)
        return graph.module()


def _fold(graph: Graph, var: relax.Var, tile: relax.Call) -> None:
    start, channels = _range(tile)
    source = _resolved(graph, tile.args[0])
    inner = graph.value(source)
    if inner is not None and ops.is_op(inner, "relax.bnn.tile"):
        before, width = _range(inner)
        if start + channels <= width:
            source = inner.args[0]
            start += before
    width = ops.shape_of(source)[3]
    start %= width
    if start == 0 and channels == width:
        graph.set(var, source)
        return
    graph.set(var, ops.anchor("tile", [source], start=start, channels=channels))


def _range(tile: relax.Call) -> tuple[int, int]:
    return int(tile.attrs["start"]), int(tile.attrs["channels"])


def _resolved(graph: Graph, expr: relax.Expr) -> relax.Expr:
    """What ``expr`` is another name of, after some tiles have become that."""
    while isinstance(value := graph.value(expr), relax.Var):
        expr = value
    return expr
