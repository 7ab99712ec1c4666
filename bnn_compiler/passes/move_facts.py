"""Facts (atoms.py) of what is moved from channel to channel: those of all channels together."""

from collections.abc import Callable

import numpy as np
from tvm import relax

from bnn_compiler.ops import relax_ops as ops
from bnn_compiler.passes.facts import Fact, Known
from bnn_compiler.passes.lattice import Mask, Vector


def _keeps_channels(value: relax.Call) -> bool:
    """Whether channels are the last dimension before and after."""
    axes = value.attrs.axes if ops.is_op(value, "relax.permute_dims") else None
    return axes is not None and int(axes[-1]) == len(axes) - 1


def _moved(atoms: Known, expr: relax.Expr, value: relax.Call) -> Fact:
    fact = atoms.fact(value.args[0])
    return fact if _keeps_channels(value) else fact.whole().wide((ops.shape_of(expr) or (1,))[-1])


def _ask_moved(atoms: Known, value: relax.Call, number: Vector) -> Mask:
    source = value.args[0]
    if _keeps_channels(value):
        return atoms.may_equal(source, number)
    channels = atoms.fact(source).low.size
    found = {v: bool(atoms.may_equal(source, np.full(channels, v)).any()) for v in set(number)}
    return np.array([found[v] for v in number])


#: As in atoms.py.
RULES: dict[str, Callable[..., Fact]] = {
    "relax.permute_dims": _moved,
    "relax.reshape": _moved,
}
QUESTIONS: dict[str, Callable[..., Mask]] = {
    "relax.permute_dims": _ask_moved,
    "relax.reshape": _ask_moved,
}
