"""FoldAffine: chains of per-channel scales and shifts become one, or a sign threshold."""

import numpy as np
import tvm
from tvm import relax

from bnn_compiler.ops import relax_ops as ops
from bnn_compiler.ops.epilogue import Epilogue
from bnn_compiler.ops.graph import Graph, affine, affine_operands, array
from bnn_compiler.passes.atoms import Atoms


class FoldAffine:
    """Two affine maps in a row become one; a shift in front of a sign becomes its threshold.

        bnn.affine(bnn.affine(x, s, b), t, c)   ->  bnn.affine(x, s*t, b*t + c)
        bnn.map(bnn.affine(x, 1, b); bits>=0)   ->  bnn.map(x; bits>= -b)

    The products are rounded once, from float64. The second rewrite is exact: x + b rounds to a
    number of the same sign as the sum. A shift that makes zeros of atoms (``Atoms``) is not merged
    with a pure scale: b*t is rounded, and x*s*t + b*t would be a residue where it was 0.
    """

    def __call__(self, module: tvm.IRModule) -> tvm.IRModule:
        graph = Graph.of(module)
        # What merging changes are expressions, not values.
        atoms = Atoms(graph)
        for var, value in list(graph.values.items()):
            if ops.is_op(value, "relax.bnn.affine"):
                while _merge(graph, atoms, var, graph.values[var]):
                    pass
        for var, value in list(graph.values.items()):
            if is_sign_bits(value):
                _shift_threshold(graph, var, value)
        return graph.module()


def is_sign_bits(expr: relax.Expr) -> bool:
    """Whether ``expr`` is a bnn.map that does nothing but take sign bits."""
    if ops.anchor_name(expr) != "map":
        return False
    epilogue = ops.epilogue_of(expr)
    return not epilogue.steps and len(epilogue.outputs) == 1 and epilogue.outputs[0].is_bits


def is_bytes(expr: relax.Expr) -> bool:
    """Whether ``expr`` is a bnn.map that does nothing but quantise."""
    if ops.anchor_name(expr) != "map":
        return False
    epilogue = ops.epilogue_of(expr)
    return not epilogue.steps and len(epilogue.outputs) == 1 and epilogue.outputs[0].is_bytes


def _merge(graph: Graph, atoms: Atoms, var: relax.Var, value: relax.Call) -> bool:
    """Whether ``value`` was merged with the affine map in front of it."""
    inner_var = value.args[0]
    inner = affine_operands(graph, inner_var)
    if inner is None or graph.only_user(inner_var) is None:
        return False
    (s, b), (t, c) = inner, (array(value.args[1]), array(value.args[2]))
    if np.any((b != 0) & (c == 0)) and atoms.may_be_zero(inner_var):
        return False
    scale = s.astype(np.float64) * t
    bias = b.astype(np.float64) * t + c
    x = graph.values[inner_var].args[0]
    graph.set(var, affine(x, scale, bias))
    return True


def _shift_threshold(graph: Graph, var: relax.Var, value: relax.Call) -> None:
    shift = affine_operands(graph, value.args[0])
    if shift is None or not np.all(shift[0] == 1):
        return
    output = ops.epilogue_of(value).outputs[0]
    threshold = array(value.args[1])
    if np.any(threshold != 0):
        return
    x = graph.values[value.args[0]].args[0]
    graph.set(
        var, ops.anchor("map", [x], Epilogue((), (output,)), [relax.const(threshold - shift[1])])
    )
