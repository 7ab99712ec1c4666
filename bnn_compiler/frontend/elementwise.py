"""Functions of one computed value, and operations on two, written by a builder."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from tvm import relax

from bnn_compiler.frontend.value import Value
from bnn_compiler.ops import relax_ops as ops

if TYPE_CHECKING:
    from bnn_compiler.frontend.builder import Builder

_OPERATIONS = {
    "add": relax.op.add,
    "multiply": relax.op.multiply,
    "divide": relax.op.divide,
    "minimum": relax.op.minimum,
    "maximum": relax.op.maximum,
}


def function(builder: "Builder", name: str, x: Value, params: Sequence[float] = ()) -> Value:
    """A function of ops/functions.py; each literal is rounded to float32."""
    call = ops.call_op("function", [x.expr], function=name, params=[float(p) for p in params])
    return builder.emit(call, x.flat)


def combine(builder: "Builder", operation: str, x: Value, y: Value) -> Value:
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


def power(builder: "Builder", x: Value, exponent: float) -> Value:
    """x to a number's power."""
    if exponent == 1:
        return x
    return function(builder, "power", x, (exponent,))


def bounded(builder: "Builder", operation: str, x: Value, bound: float) -> Value:
    """The minimum or maximum of a value and a number."""
    low, high = (-math.inf, bound) if operation == "minimum" else (bound, math.inf)
    return builder.clip(x, low, high)
