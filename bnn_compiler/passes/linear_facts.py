"""Facts (atoms.py) of convolutions and products of tensors: each has a root of its own."""

from collections.abc import Callable

import numpy as np
from tvm import relax

from bnn_compiler.ops import relax_ops as ops
from bnn_compiler.ops.graph import array
from bnn_compiler.passes.facts import Fact, Known
from bnn_compiler.passes.lattice import NOWHERE, Lattice, lattice_union, listed
from bnn_compiler.passes.weights import split_weights


def _binary_conv(_: Known, expr: relax.Expr, value: relax.Call) -> Fact:
    weights = ops.shape_of(value.args[1])
    reach = int(np.prod(weights[1:]))
    padded = any(int(v) for v in value.attrs["padding"]) and int(value.attrs["pad_value"]) == 0
    one = np.ones(weights[0])
    points = Lattice((0 * one,), (one,), (reach,), None if padded else reach % 2)
    return Fact(-reach * one, reach * one, points, True, frozenset([expr]), only=True)


def _matmul(_: Known, expr: relax.Expr, value: relax.Call) -> Fact:
    reach, one = ops.shape_of(value.args[0])[3], np.ones(ops.shape_of(expr)[-1])
    below = any(int(v) for v in value.attrs["low"])
    points = Lattice((0 * one,), (one,), (reach,))
    low = -reach * one if below else 0 * one
    return Fact(low, reach * one, points, True, frozenset([expr]), only=True)


def _conv(atoms: Known, expr: relax.Expr, value: relax.Call) -> Fact:
    """A float sum is continuous, except of a dead channel or of few-valued terms."""
    weights = array(value.args[1])
    channels = weights.shape[0]
    flat = weights.reshape(channels, -1)
    dead = ~flat.any(axis=1)
    infinite = np.where(dead, 0.0, np.inf)
    fact = atoms.fact(value.args[0])
    points: Lattice | None = NOWHERE
    only = False
    if dead.any():
        points = listed([np.where(dead, 0.0, np.nan)])
    if fact.discrete:
        split = split_weights(weights)
        if split is not None and _are_signs(fact):
            only = True
            scale = split.scale.astype(np.float64)
            points = Lattice((np.zeros(channels),), (scale,), (flat.shape[1],))
        elif any(_is_few_valued(row) for row in flat):
            points = None
    known = fact.points is not None or bool(np.any(fact.low == 0))
    zeros = np.zeros(fact.low.size)
    if weights.shape[3] < _FEW and known and atoms.may_equal(value.args[0], zeros).any():
        points = lattice_union([points, listed([np.zeros(channels)])])
    roots = frozenset([expr])
    free = roots if points is NOWHERE else frozenset[relax.Var]()
    if np.any(np.count_nonzero(flat, axis=1) == 1):
        # A copy of one channel, scaled.
        roots, free = roots | fact.roots, frozenset()
    return Fact(-infinite, infinite, points, fact.discrete, roots, free=free, only=only)


def _are_signs(fact: Fact) -> bool:
    """Whether all numbers are -1, 0 or 1."""
    atoms = fact.atoms if fact.only else None
    return atoms is not None and all(np.all(np.isnan(a) | np.isin(a, (-1, 0, 1))) for a in atoms)


#: So few channels are all 0 where one is.
_FEW = 4


def _is_few_valued(weights: np.ndarray) -> bool:
    """Whether sums of so few magnitudes coincide more often than by accident."""
    return weights.size < 8 or np.unique(np.abs(weights)).size * 4 <= weights.size


#: What nothing has to be known of the operands of.
ROOTS = ("relax.bnn.conv2d", "relax.bnn.matmul")
#: As in atoms.py.
RULES: dict[str, Callable[..., Fact]] = {
    "relax.bnn.conv2d": _binary_conv,
    "relax.bnn.matmul": _matmul,
    "relax.nn.conv2d": _conv,
}
