"""Functions of one computed value, and operations on two, written by a builder."""

from collections.abc import Sequence
from typing import Protocol

from tvm import relax

from bnn_compiler.errors import UnsupportedError
from bnn_compiler.frontend.value import Value
from bnn_compiler.ops import relax_ops as ops


class Writer(Protocol):
    """What of frontend/builder.py is used here."""

    def emit(self, expr: relax.Expr, flat: bool = False) -> Value:
        """Bind an expression to a variable."""

    def vector(self, x: Value) -> Value:
        """A flat value with a channel per feature."""

    def fail(self, why: str) -> UnsupportedError:
        """The error for the current place."""


_OPERATIONS = {
    "add": relax.op.add,
    "multiply": relax.op.multiply,
    "divide": relax.op.divide,
    "minimum": relax.op.minimum,
    "maximum": relax.op.maximum,
}


def function(builder: Writer, name: str, x: Value, params: Sequence[float] = ()) -> Value:
    """A function of ops/functions.py; each literal is rounded to float32."""
    call = ops.call_op("function", [x.expr], function=name, params=[float(p) for p in params])
    return builder.emit(call, x.flat)


def combine(builder: Writer, operation: str, x: Value, y: Value) -> Value:
    """x and y added, multiplied, ...; a dimension of 1 of one of them is repeated.

    Raises UnsupportedError if neither has the shape of the result.
    """
    if x.flat and y.flat and not (x.is_vector and y.is_vector):
        x, y = builder.vector(x), builder.vector(y)
    one, other = ops.shape_of(x.expr), ops.shape_of(y.expr)
    whole = tuple(map(max, one, other))
    fits = all(a in (1, w) and b in (1, w) for a, b, w in zip(one, other, whole, strict=True))
    if x.flat != y.flat or not fits:
        raise builder.fail("its two inputs have different shapes")
    if whole not in (one, other):
        raise builder.fail(
            f"neither {list(x.shape)} nor {list(y.shape)} has the shape of the result; expand one"
            " by adding it to zeros of that shape"
        )
    return builder.emit(_OPERATIONS[operation](x.expr, y.expr), x.flat)


def power(builder: Writer, x: Value, exponent: float) -> Value:
    """x to a number's power."""
    if exponent == 1:
        return x
    return function(builder, "power", x, (exponent,))
