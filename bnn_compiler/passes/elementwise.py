"""Element-wise Relax operators as steps of an epilogue."""

from dataclasses import dataclass

from tvm import relax

from bnn_compiler.ops import relax_ops as ops
from bnn_compiler.ops.epilogue import STEPS


@dataclass(frozen=True)
class Elementwise:
    """The step that an operator is on its first argument: its kind, operands and literals."""

    kind: str
    operands: tuple[relax.Expr, ...]
    params: tuple[float, ...]


def elementwise(expr: relax.Expr) -> Elementwise | None:
    """The step that a call is; None for anything that no row of STEPS has as its source."""
    source = ops.called(expr)
    if source == "relax.bnn.function":
        name = str(expr.attrs["function"])
        return Elementwise(name, (), STEPS[name].literals(expr))
    for name, kind in STEPS.items():
        if source and kind.source == source:
            return Elementwise(name, tuple(expr.args[1 : 1 + kind.operands]), kind.literals(expr))
    return None
