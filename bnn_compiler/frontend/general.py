"""Operators on tensors of any rank: plain values, which are dense in the framework's own order.

What the builder's own operators cannot take goes here, a primitive (ops/primitives.py) at a time:

    y = general.call(builder, "add", [x, 1.0])
    y = general.call(builder, "permute", [y], (0, 2, 1))
    builder.conv2d(general.image(builder, y), ...)
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tvm import relax

from bnn_compiler.frontend.builder import Builder
from bnn_compiler.frontend.value import Value
from bnn_compiler.ops import relax_ops as ops
from bnn_compiler.ops.general import Program, Step

#: A computed tensor, a constant one of any shape, or a number.
Operand = Value | NDArray[Any] | float


def plain(builder: Builder, x: Value) -> Value:
    """``x`` as a plain value."""
    if x.plain:
        return x
    nchw = builder.emit(relax.op.permute_dims(x.expr, [0, 3, 1, 2]), name="plain").expr
    if tuple(x.shape) != ops.shape_of(nchw):
        nchw = builder.emit(relax.op.reshape(nchw, list(x.shape)), name="plain").expr
    return Value(nchw, plain=True, image=x)


def image(builder: Builder, x: Value) -> Value:
    """``x`` as the builder's own operators take it; [N, C, L] is an image of one row.

    Raises UnsupportedError for another rank.
    """
    if not x.plain:
        return x
    if x.image is not None:
        return x.image
    if len(x.shape) not in (2, 3, 4):
        raise builder.fail(
            f"a tensor of shape {list(x.shape)}; this operator is compiled for [N, C, H, W],"
            " [N, C, L] and [N, F]"
        )
    if x.tokens is not None and len(x.shape) == 2:
        n, f = x.shape
        rows = ops.anchor("tokens", [x.tokens.expr], shape=[n, 1, 1, f])
        return builder.emit(rows, True, name="image")
    flat, nchw = len(x.shape) == 2, x.expr
    if len(x.shape) < 4:
        full = [*x.shape, 1, 1] if flat else [*x.shape[:2], 1, x.shape[2]]
        nchw = builder.emit(relax.op.reshape(nchw, full), name="image").expr
    return builder.emit(relax.op.permute_dims(nchw, [0, 2, 3, 1]), flat, name="image")


def row(builder: Builder, x: Value) -> Value:
    """An image of one row as the plain value [N, C, L] that its framework sees."""
    n, c, _, length = x.shape
    whole = builder.emit(relax.op.permute_dims(x.expr, [0, 3, 1, 2]), name="plain").expr
    expr = builder.emit(relax.op.reshape(whole, [n, c, length]), name="plain").expr
    return Value(expr, plain=True, image=x)


def call(builder: Builder, op: str, operands: Sequence[Operand], *params: Any) -> Value:
    """A primitive of plain values. Raises UnsupportedError if it yields no element."""
    arguments: list[relax.Expr] = []
    steps: list[Step] = []
    names = []
    for operand in operands:
        if isinstance(operand, Value):
            arguments.append(plain(builder, operand).expr)
            names.append(f"a{len(arguments) - 1}")
        elif isinstance(operand, int | float):
            names.append(f"t{len(steps)}")
            steps.append(Step("number", (), (float(operand),)))
        else:
            arguments.append(relax.const(np.ascontiguousarray(operand, np.float32)))
            names.append(f"a{len(arguments) - 1}")
    program = Program((*steps, Step(op, tuple(names), params)))
    if 0 in program.shape([ops.shape_of(a) for a in arguments]):
        raise builder.fail("its result has no element")
    expr = ops.call_op("general", arguments, inputs=len(arguments), program=program.lines)
    found = builder.emit(expr)
    return Value(found.expr, plain=True)


def integers(builder: Builder, name: str, shape: Sequence[int], dtype: str) -> Value:
    """An input of integers or truth values, as floats."""
    given = builder.input(name, shape, dtype)
    load = Program((Step("load", ("a0",), (dtype,)),))
    expr = ops.call_op("general", [given.expr], inputs=1, program=load.lines)
    return Value(builder.emit(expr, name=f"{name}_loaded").expr, plain=True)


def result(builder: Builder, x: Value, dtype: str = "float32") -> Value:
    """An output of ``dtype``: memory of its own for what else may read a plain value."""
    if dtype == "float32" and not x.plain:
        return x
    x = plain(builder, x)
    copy = Program(
        (Step("copy", ("a0",)) if dtype == "float32" else Step("store", ("a0",), (dtype,)),)
    )
    expr = ops.call_op("general", [x.expr], inputs=1, program=copy.lines)
    return Value(builder.emit(expr, name="output").expr, plain=True)
