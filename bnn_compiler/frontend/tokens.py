"""Tensors whose features are their last dimension, [..., C], as images: rows of C channels.

Elements stay where they are, so a linear layer of tokens is a convolution of 1x1, and what is known
of signs, batch norms and shortcuts of images holds for tokens too.

    image = tokens.image(builder, x)
    y = tokens.plain(builder, builder.conv2d(image, weight), x.shape[:-1])
"""

from collections.abc import Sequence
from dataclasses import replace
from math import prod

import numpy as np
from tvm import relax

from bnn_compiler.frontend import general
from bnn_compiler.frontend.builder import Builder
from bnn_compiler.frontend.value import Signs, Value
from bnn_compiler.ops import relax_ops as ops

Shape = tuple[int, int, int, int]


def stored(shape: Sequence[int]) -> Shape:
    """[N, H, W, C] of tokens [..., C] of two dimensions or more."""
    *lead, c = shape
    if len(lead) == 1:
        return 1, 1, lead[0], c
    if len(lead) == 2:
        return lead[0], 1, lead[1], c
    return prod(lead[:-2]), lead[-2], lead[-1], c


def image(builder: Builder, x: Value) -> Value:
    """``x`` as an image [N, H, W, C]. Raises UnsupportedError for a vector."""
    if x.tokens is not None:
        return x.tokens
    if x.is_vector:
        return replace(x, flat=False)
    if len(x.shape) < 2:
        raise builder.fail(f"a tensor of shape {list(x.shape)} has no rows")
    return shaped(builder, general.plain(builder, x).expr, stored(x.shape))


def shaped(builder: Builder, expr: relax.Expr, shape: Shape) -> Value:
    """Tokens or an image as an image of ``shape`` with the same channels."""
    return builder.emit(ops.anchor("tokens", [expr], shape=list(shape)), name="tokens")


def plain(builder: Builder, x: Value, lead: Sequence[int]) -> Value:
    """An image of tokens as the plain value [*lead, C]."""
    shape = (*lead, x.channels)
    expr = builder.emit(ops.call_op("plain", [x.expr], shape=list(shape)), name="plain").expr
    wanted = stored(shape)
    tokens = x if ops.shape_of(x.expr) == wanted else shaped(builder, x.expr, wanted)
    return Value(expr, plain=True, tokens=tokens)


def reshaped(builder: Builder, x: Value, shape: Sequence[int]) -> Value:
    """Tokens with other leading dimensions."""
    rows = shaped(builder, image(builder, x).expr, stored(shape))
    found = replace(general.call(builder, "reshape", [x], tuple(shape)), tokens=rows)
    made = x.signs
    if made is None:
        return found
    moves = (*made.origin.moves, ("reshape", (tuple(shape),)))
    source = reshaped(builder, made.source, shape)
    origin = replace(made.origin, moves=moves)
    return replace(found, signs=replace(made, source=source, origin=origin, before=None))


def signs(builder: Builder, made: Signs) -> Value:
    """The value of ``made``, from its source."""
    source = made.source
    call = ops.call_op("sign", [image(builder, source).expr], zero=made.zero)
    found = builder.emit(call, name=made.name)
    assert isinstance(found.expr, relax.Var)
    if made.origin.value:
        known = replace(made.origin, shape=ops.shape_of(found.expr), last=True)
        builder.origins.setdefault(found.expr.name, known)
    if (made.scale, made.shift) != (1.0, 0.0):
        n = found.channels
        found = builder.affine(found, np.full(n, made.scale), np.full(n, made.shift))
    return replace(plain(builder, found, source.shape[:-1]), signs=made)


def moved(builder: Builder, made: Signs, move: str, numbers: Sequence[int]) -> Value:
    """Signs of what is moved: the bits of a moved sign are packed along its last dimension."""
    given = tuple(int(v) for v in numbers)
    if move == "permute" and made.before is not None:
        _, (first,) = made.origin.moves[-1]
        made, given = made.before, tuple(first[axis] for axis in given)
        if given == tuple(range(len(given))):
            return signs(builder, made)
    source = general.call(builder, move, [made.source], given)
    origin = replace(made.origin, moves=(*made.origin.moves, (move, (given,))))
    before = made if move == "permute" else None
    return signs(builder, replace(made, source=source, origin=origin, before=before))
