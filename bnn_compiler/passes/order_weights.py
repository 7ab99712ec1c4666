"""OrderWeights: a layer of bits reads moved channels where they were before."""

from math import prod

import numpy as np
import tvm
from numpy.typing import NDArray
from tvm import relax

from bnn_compiler.ops import relax_ops as ops
from bnn_compiler.ops.evaluate import run_call
from bnn_compiler.ops.general import Program, primitive
from bnn_compiler.ops.graph import Graph, array, bind, derived
from bnn_compiler.ops.primitives import Kind
from bnn_compiler.passes.atoms import Atoms
from bnn_compiler.passes.find_signs import levels
from bnn_compiler.passes.weights import few_levels

Order = NDArray[np.int64]
#: float32, in which general programs move positions, counts so far.
_MOST = 1 << 24


class OrderWeights:
    """nn.conv2d(shuffled x, W) -> nn.conv2d(x, W'), the input channels of W in the order of x.

        p = permute_dims(x); g = bnn.general(p; reshape, permute, reshape)
        z = permute_dims(g)                    ->    y = nn.conv2d(x, W')
        y = nn.conv2d(z, W)

    Where x has two levels (find_signs.py) and W has two values, so that no sum is rounded. What
    the moves make of x is found by moving positions. Some neighbouring channels of x alone are a
    bnn.tile of it; any other move stays.
    """

    def __call__(self, module: tvm.IRModule) -> tvm.IRModule:
        graph = Graph.of(module)
        atoms = Atoms(graph)
        for var, value in list(graph.values.items()):
            if ops.is_op(value, "relax.nn.conv2d"):
                _read_before(graph, atoms, var, value)
        return graph.module()


def _read_before(graph: Graph, atoms: Atoms, var: relax.Var, conv: relax.Call) -> None:
    source = conv.args[0]
    moves = _moves(graph, source)
    root = _root(graph, moves)
    if root is None or levels(atoms.fact(root)) is None:
        return
    weights = array(conv.args[1])
    order = _order(graph, moves, root, source) if few_levels(weights) else None
    if order is None:
        return
    new: list[tuple[relax.Var, relax.Expr]] = []
    count = ops.shape_of(root)[3]
    read: relax.Expr = root
    found = _reordered(weights, order, int(conv.attrs.groups)) if len(order) == count else None
    if found is None:
        neighbours = (order[0] + np.arange(len(order))) % count
        if ops.is_op(graph.values[source], "relax.bnn.tile") or np.any(order != neighbours):
            return
        found = weights
        cut = ops.anchor("tile", [root], start=int(order[0]), channels=len(order))
        read = bind(cut, derived(var.name, "cut"))
        new.append((read, cut))
    moved = relax.Call(conv.op, [read, relax.const(found), *conv.args[2:]], conv.attrs)
    graph.replace(var, [*new, (var, moved)])


def _moves(graph: Graph, source: relax.Expr) -> list[relax.Var]:
    """The variables that only move elements from ``source`` on back, in the order of the graph."""
    found, waiting = set[relax.Var](), [source]
    while waiting:
        var = waiting.pop()
        value = graph.value(var)
        if var not in found and value is not None and _is_move(value):
            found.add(var)
            waiting += [a for a in value.args if isinstance(a, relax.Var)]
    return [v for v in graph.values if v in found] if found else []


def _is_move(value: relax.Expr) -> bool:
    if ops.called(value) in ("relax.permute_dims", "relax.reshape"):
        return True
    if ops.bnn_name(value) in ("tokens", "plain", "tile"):
        return True
    if not ops.is_op(value, "relax.bnn.general"):
        return False
    steps = Program.parse([str(line) for line in value.attrs["program"]]).steps
    # What is padded is another number.
    return all(primitive(s.op).kind is Kind.MOVE and s.op != "pad" for s in steps)


def _root(graph: Graph, moves: list[relax.Var]) -> relax.Var | None:
    """The one image that everything is moved from; None if there are several, or a plain value."""
    read = {a for v in moves for a in graph.values[v].args if isinstance(a, relax.Var)}
    roots = read - set(moves)
    root = roots.pop() if len(roots) == 1 else None
    value = None if root is None else graph.value(root)
    is_image = value is not None and not ops.is_op(value, "relax.bnn.general")
    return root if is_image else None


def _order(
    graph: Graph, moves: list[relax.Var], root: relax.Var, source: relax.Var
) -> Order | None:
    """Which channel of ``root`` each channel of ``source`` is; None if pixels move too."""
    shape, wanted = ops.shape_of(root), ops.shape_of(source)
    if len(shape) != 4 or shape[:3] != wanted[:3] or prod(shape[:3]) >= _MOST:
        return None
    pixels = np.arange(prod(shape[:3]), dtype=np.float32).reshape(*shape[:3], 1)
    channels = np.arange(shape[3], dtype=np.float32)
    at, which = (
        _moved(graph, moves, root, np.ascontiguousarray(np.broadcast_to(positions, shape)))[source]
        for positions in (pixels, channels)
    )
    order = which[0, 0, 0]
    if np.any(at != pixels) or np.any(which != order):
        return None
    return np.asarray(order, np.int64)


def _moved(
    graph: Graph, moves: list[relax.Var], root: relax.Var, positions: NDArray[np.float32]
) -> dict[relax.Var, NDArray[np.float32]]:
    values = {root: positions}
    for var in moves:
        values[var] = run_call(graph.values[var], values)
    return values


def _reordered(weights: np.ndarray, order: Order, groups: int) -> np.ndarray | None:
    """``weights`` [O, KH, KW, C / groups] for channels before a move; None if it leaves a group."""
    size = weights.shape[3]
    group = np.arange(len(order)) // size
    if np.unique(order).size < len(order) or np.any(order // size != group):
        return None
    found = np.empty_like(weights)
    rows = np.arange(len(weights)) // (len(weights) // groups)
    for index in range(groups):
        inside = order[group == index] - index * size
        found[np.ix_(rows == index, *map(np.arange, weights.shape[1:3]), inside)] = weights[
            rows == index
        ]
    return found
