"""A sign as bits: one plane if it has no 0 of its own, or is never negative or never positive."""

from dataclasses import dataclass

import numpy as np
from tvm import relax

from bnn_compiler.ops import relax_ops as ops
from bnn_compiler.ops.epilogue import Epilogue, Output
from bnn_compiler.passes.atoms import Atoms


@dataclass(frozen=True)
class SignPlanes:
    """sign = (offset + sum of planes) / divisor.

    ``compares`` has a plane of -1/+1 for each: x >= 0 or x > 0. ``pad_value`` stands around each
    plane for the value around the signs.
    """

    compares: tuple[str, ...]
    offset: int
    divisor: int
    pad_value: int


def sign_planes(atoms: Atoms, x: relax.Expr, zero: int, pad_value: int) -> SignPlanes:
    """The planes of sign(x) that a convolution reads, padded with ``pad_value`` (-1, 0 or +1).

    | sign(0) | x | sign(x) |
    |---|---|---|
    | +1 or -1 | any | one plane |
    | 0 | 0 by accident only | one plane, +1 at 0 |
    | 0 | >= 0 | (1 + (x > 0)) / 2 |
    | 0 | <= 0 | (-1 + (x >= 0)) / 2 |
    | 0 | any | ((x >= 0) + (x > 0)) / 2 |
    """
    if zero:
        return SignPlanes((">=" if zero > 0 else ">",), 0, 1, pad_value)
    if not atoms.may_be_zero(x):
        return SignPlanes((">=",), 0, 1, pad_value)
    fact = atoms.fact(x)
    if fact.nonnegative() and pad_value >= 0:
        return SignPlanes((">",), 1, 2, 2 * pad_value - 1)
    if fact.nonpositive() and pad_value <= 0:
        return SignPlanes((">=",), -1, 2, 2 * pad_value + 1)
    return SignPlanes((">=", ">"), 0, 2, pad_value)


def plane(x: relax.Expr, compare: str) -> relax.Call:
    """The bits of ``x compare 0``."""
    threshold = relax.const(np.zeros(ops.shape_of(x)[3], np.float32))
    return ops.anchor("map", [x], Epilogue((), (Output(compare, 0),)), [threshold])
