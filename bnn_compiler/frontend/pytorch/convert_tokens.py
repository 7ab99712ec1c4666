"""Converters for tokens, whose features are their last dimension: linear layers and so on.

They write what the converters of images write (converters.py), on images of tokens
(frontend/tokens.py), and are tried first where an operand is one.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch.fx import Node
from tvm import relax

from bnn_compiler.frontend import general, tokens
from bnn_compiler.frontend.builder import Builder
from bnn_compiler.frontend.oracle import Move, Origin
from bnn_compiler.frontend.pytorch import convert_functions, convert_moves
from bnn_compiler.frontend.pytorch.context import Context
from bnn_compiler.frontend.pytorch.convert_conv import bias_of
from bnn_compiler.frontend.pytorch.converters import HANDLERS
from bnn_compiler.frontend.pytorch.trace import op_name
from bnn_compiler.frontend.value import Signs, Value
from bnn_compiler.ops import relax_ops as ops

Converter = Callable[..., Value | None]


class TokenContext(Context):
    """Another context's node as converters of images see it, if its tensors are tokens."""

    def __init__(self, of: Context) -> None:
        self.builder, self.env, self.node, self._constants = (
            of.builder,
            of.env,
            of.node,
            of._constants,
        )

    def any(self, node: Any) -> Value:
        """A computed value as an image of tokens. Raises UnsupportedError for another shape."""
        found = super().any(node)
        if found.shape != tuple(self.node.meta["val"].shape):
            raise self.fail(f"a tensor of shape {list(found.shape)} is repeated")
        return tokens.image(self.builder, found)

    def data(self, node: Any) -> Value:
        """The same."""
        return self.any(node)

    def operand(self, node: Any) -> Value | NDArray[Any]:
        """The same, or a constant: a number, [C, 1, 1], or one that differs by place."""
        constant = self.constant(node)
        if constant is None:
            return self.any(node)
        if constant.size == 1:
            return constant
        shape = tuple(self.node.meta["val"].shape)
        whole = np.broadcast_to(constant, shape)
        row = whole.reshape(-1, shape[-1])[0]
        if np.array_equal(whole, np.broadcast_to(row, shape)):
            return np.ascontiguousarray(row).reshape(-1, 1, 1)
        return whole.reshape(tokens.stored(shape)).transpose(0, 3, 1, 2)


def _lead(ctx: Context) -> tuple[int, ...]:
    return tuple(ctx.node.meta["val"].shape[:-1])


def _are_tokens(ctx: Context) -> bool:
    """Whether an operand of the node is tokens by nature: the result of a layer of tokens."""
    found = [ctx.env.get(n) for n in ctx.node.all_input_nodes]
    return any(isinstance(v, Value) and v.tokens and not v.image for v in found)


def _elementwise(name: str) -> Converter:
    """The converter of images, on tokens."""
    convert = HANDLERS[name]

    def on_tokens(ctx: Context, *args: Any, **kwargs: Any) -> Value | None:
        if not _are_tokens(ctx):
            return None
        made = convert(TokenContext(ctx), *args, **kwargs)
        return tokens.plain(ctx.builder, made, _lead(ctx))

    return on_tokens


def _scaling(name: str) -> Converter:
    """The same; scaled signs with a number stay scaled signs."""
    plainly = _elementwise(name)

    def convert(ctx: Context, a: Any, b: Any, **kwargs: Any) -> Value | None:
        found = plainly(ctx, a, b, **kwargs)
        for x, other in ((a, b), (b, a)):
            number = ctx.constant(other)
            made = ctx.any(x).signs if number is not None and number.size == 1 else None
            if found is None or number is None or made is None or kwargs:
                continue
            if name == "mul" or x is a:
                scale, shift = _SCALING[name](float(number.item()))
                scaled = made.scale * scale, made.shift * scale + shift
                new = replace(made, scale=scaled[0], shift=scaled[1], before=None)
                return replace(found, signs=new)
        return found

    return convert


#: What an operation with a number does: (factor, summand).
_SCALING: dict[str, Callable[[float], tuple[float, float]]] = {
    "mul": lambda c: (c, 0.0),
    "div": lambda c: (1 / c if c else math.inf, 0.0),
    "add": lambda c: (1.0, c),
    "sub": lambda c: (1.0, -c),
}


def _prelu(ctx: Context, x: Any, slope: Any) -> Value | None:
    constant = ctx.constant(slope)
    # Several slopes belong to the second dimension.
    if constant is None or constant.size != 1:
        return None
    return _elementwise("prelu")(ctx, x, slope)


def _linear(ctx: Context, x: Any, w: Any, bias: Any = None) -> Value | None:
    weight, found = ctx.constant(w), ctx.any(x)
    if weight is None or weight.ndim != 2 or (len(found.shape) < 3 and not found.tokens):
        return None
    rows = tokens.image(ctx.builder, found)
    made = ctx.builder.conv2d(rows, weight[:, :, None, None], bias_of(ctx, bias))
    return tokens.plain(ctx.builder, made, _lead(ctx))


def _sign(ctx: Context, x: Any, zero: int = 0) -> Value | None:
    source, meta = ctx.any(x), ctx.node.meta
    if source.image or source.flat or len(source.shape) < 2:
        return None
    if not source.tokens and not _read_by_rows(ctx.node, source.plain):
        return None
    before, levels = meta.get("sign", (None, None))
    origin = Origin(str(meta.get("origin") or ""), (), str(before or ""), levels)
    return tokens.signs(ctx.builder, Signs(source, int(zero), 1.0, 0.0, origin, ctx.node.name))


_TRANSPOSES = ("transpose", "swapaxes")
_RESHAPES = ("view", "reshape", "flatten", "unflatten", "_unsafe_view", "squeeze", "unsqueeze")
_MOVES = (*_TRANSPOSES, *_RESHAPES, "permute")
#: What reads the last dimension of its operand, and what reads the second.
_ROWS = ("linear", "matmul", "bmm", "einsum", "baddbmm", "addmm", "mm")
_IMAGES = ("conv1d", "conv2d", "batch_norm", "max_pool1d", "max_pool2d", "avg_pool1d", "avg_pool2d")


def _read_by_rows(node: Node, plain: bool) -> bool:
    """Whether the first layer behind ``node`` reads its last dimension.

    If there is none, a ``plain`` value is taken for rows. An image that is moved stays one.
    """
    seen, waiting = {node}, [node]
    while waiting:
        for user in waiting.pop(0).users:
            name = op_name(user)
            if name in _ROWS:
                return True
            if name in _IMAGES or (not plain and name in _MOVES and not _swaps_last(user)):
                return False
            if user not in seen:
                seen.add(user)
                waiting.append(user)
    return plain


def _swaps_last(node: Node) -> bool:
    """Whether a move is the transposition of a matrix in front of a product."""
    axes = {a % 4 for a in node.args[1:3] if isinstance(a, int)}
    return op_name(node) in _TRANSPOSES and axes == {2, 3}


# ---- products


def _matmul(ctx: Context, a: Any, b: Any) -> Value | None:
    left, right = (_matrix(ctx.constant(v)) for v in (a, b))
    if right is not None and left is None:
        return _linear_by(ctx, ctx.any(a), right.T)
    if left is not None and right is None:
        found = ctx.any(b)
        count = len(found.shape)
        swapped = (*range(count - 2), count - 1, count - 2)
        rows = _permuted(ctx.builder, found, swapped)
        made = None if count < 2 else _linear_by(ctx, rows, left)
        return None if made is None else _permuted(ctx.builder, made, swapped)
    if ctx.constant(a) is not None or ctx.constant(b) is not None:
        return None
    return _product(ctx, ctx.any(a), ctx.any(b))


def _matrix(constant: NDArray[Any] | None) -> NDArray[Any] | None:
    """A constant that is one matrix."""
    if constant is None or constant.ndim < 2 or math.prod(constant.shape[:-2]) != 1:
        return None
    return constant.reshape(constant.shape[-2:])


def _linear_by(ctx: Context, found: Value, weight: NDArray[Any]) -> Value | None:
    """Rows of two dimensions or more times ``weight`` [O, K]."""
    if len(found.shape) < 2 or found.flat:
        return None
    rows = tokens.image(ctx.builder, found)
    made = ctx.builder.conv2d(rows, np.ascontiguousarray(weight)[:, :, None, None])
    return tokens.plain(ctx.builder, made, found.shape[:-1])


def _product(ctx: Context, a: Value, b: Value) -> Value | None:
    """[..., I, K] times [..., K, J], both signs, or both levels of {0, 1}."""
    if a.signs is None or b.signs is None or a.shape[:-2] != b.shape[:-2] or len(a.shape) < 2:
        return None
    left, right = _levels(a.signs), _levels(b.signs)
    if left is None or right is None:
        return None
    count = len(b.shape)
    swapped = (*range(count - 2), count - 1, count - 2)
    rows = tokens.signs(ctx.builder, a.signs.alone())
    columns = tokens.moved(ctx.builder, b.signs.alone(), "permute", swapped)
    assert rows.tokens is not None and columns.tokens is not None
    operands = [rows.tokens.expr, columns.tokens.expr]
    low = [left[0], right[0]]
    found = ctx.builder.emit(ops.anchor("matmul", operands, low=low))
    scale = left[1] * right[1]
    if scale != 1:
        n = found.channels
        found = ctx.builder.affine(found, np.full(n, scale), np.zeros(n))
    return tokens.plain(ctx.builder, found, _lead(ctx))


def _levels(made: Signs) -> tuple[int, float] | None:
    """(the lower of two levels, of which the upper is 1; their scale): {-1, 1} or {0, 1}."""
    if made.shift == 0:
        return -1, made.scale
    return (0, 2 * made.scale) if made.shift == made.scale else None


# ---- moves


def _cat(ctx: Context, parts: Sequence[Any], dim: int = 0) -> Value | None:
    """Of features; the same ones again and again are read in place."""
    count = len(ctx.node.meta["val"].shape)
    if not _are_tokens(ctx) or dim % count != count - 1:
        return None
    values = [tokens.image(ctx.builder, ctx.any(p)) for p in parts]
    if all(v.expr.same_as(values[0].expr) for v in values):
        made = ctx.builder.channels(values[0], 0, values[0].channels * len(values))
    else:
        made = ctx.builder.concat(values)
    return tokens.plain(ctx.builder, made, _lead(ctx))


def _reshape(ctx: Context, x: Any, *_: Any, **__: Any) -> Value | None:
    found, wanted = ctx.any(x), tuple(int(v) for v in ctx.node.meta["val"].shape)
    shape, build = found.shape, ctx.builder
    if not found.plain and not found.flat and len(wanted) == 3 and wanted[:2] == shape[:2]:
        n, c, length = wanted
        row = tokens.shaped(build, found.expr, (n, 1, length, c))
        moved = general.call(build, "reshape", [found], wanted)
        return replace(moved, image=row)
    if found.image and len(wanted) == 4 and len(shape) == 3 and wanted[:2] == shape[:2]:
        n, c, h, w = wanted
        return tokens.shaped(build, found.image.expr, (n, h, w, c))
    if found.tokens and not found.image and wanted[-1:] == shape[-1:] and len(wanted) > 1:
        return tokens.reshaped(build, found, wanted)
    if found.signs:
        return tokens.moved(build, found.signs, "reshape", wanted)
    return None


def _permute(ctx: Context, x: Any, dims: Sequence[int]) -> Value | None:
    found = ctx.any(x)
    return _known_permuted(ctx.builder, found, [int(d) % len(found.shape) for d in dims])


def _permuted(builder: Builder, found: Value, axes: Sequence[int]) -> Value:
    made = _known_permuted(builder, found, axes)
    return made or general.call(builder, "permute", [found], tuple(axes))


def _known_permuted(build: Builder, found: Value, dims: Sequence[int]) -> Value | None:
    """What stays where it is, and signs; None for anything else."""
    count, axes = len(found.shape), tuple(dims)
    behind, before = (0, *range(2, count), 1), (0, count - 1, *range(1, count - 1))
    if not found.plain and not found.flat and axes == behind:
        n, _, h, w = found.shape
        return tokens.plain(build, found, (n, h, w))
    if found.image and count == 3 and axes == behind:
        n, _, length = found.shape
        return tokens.plain(build, found.image, (n, length))
    if found.tokens and not found.image and count in (3, 4) and axes == before:
        if count == 4:
            return replace(found.tokens, flat=False)
        if found.signs is None:
            return replace(general.call(build, "permute", [found], axes), image=found.tokens)
    return tokens.moved(build, found.signs, "permute", axes) if found.signs else None


def _transpose(ctx: Context, x: Any, first: int, second: int) -> Value | None:
    axes = list(range(len(ctx.any(x).shape)))
    axes[first], axes[second] = axes[second], axes[first]
    return _permute(ctx, x, axes)


class _SignContext(Context):
    """Another context's node with the source of its signs in their place; notes how it is moved."""

    def __init__(self, of: Context, node: Node, made: Signs) -> None:
        self.builder, self.env, self.node, self._constants = (
            of.builder,
            of.env,
            of.node,
            of._constants,
        )
        plain = Value(made.source.expr, plain=True)
        self._signs, self.source = node, plain
        self.moves: dict[relax.Expr, tuple[Move, ...]] = {plain.expr: ()}

    def any(self, node: Any) -> Value:
        """The source of the signs. Raises UnsupportedError for another value."""
        if node is self._signs:
            return self.source
        raise self.fail("it moves another value too")

    def call(self, op: str, *operands: general.Operand, params: Sequence[Any] = ()) -> Value:
        """A move, which is noted. Raises UnsupportedError for anything else."""
        source, given = operands[0], tuple(params)
        if len(operands) > 1 or not isinstance(source, Value):
            raise self.fail("it does more than move its operand")
        found = super().call(op, source, params=given)
        self.moves[found.expr] = (*self.moves[source.expr], (op, given))
        return found


def _moving(name: str) -> Callable[..., Any]:
    """Signs that are cut or repeated are signs of what is cut or repeated."""
    convert = convert_moves.MOVES[name]

    def of_signs(ctx: Context, x: Any, *args: Any, **kwargs: Any) -> Any:
        made = ctx.any(x).signs
        if made is None:
            return None
        inner = _SignContext(ctx, x, made)

        def again(source: Value) -> Value:
            moves = (*made.origin.moves, *inner.moves[source.expr])
            origin = replace(made.origin, moves=moves)
            return tokens.signs(
                ctx.builder, replace(made, source=source, origin=origin, before=None)
            )

        found = convert(inner, x, *args, **kwargs)
        several = isinstance(found, list)
        parts = [again(v) for v in (found if several else [found])]
        return parts if several else parts[0]

    return of_signs


#: PyTorch operator -> converter of tokens, which returns None for what is another's.
TOKENS: dict[str, Converter] = {
    **{
        name: _elementwise(name)
        for name in (
            *("rsub", "neg", "relu", "relu6", "hardtanh", "clamp", "clamp_min", "clamp_max"),
            *("leaky_relu", "minimum", "maximum", *convert_functions.HANDLERS),
        )
    },
    **{name: _scaling(name) for name in _SCALING},
    **dict.fromkeys(("prelu", "_prelu_kernel"), _prelu),
    "linear": _linear,
    "sign": _sign,
    **dict.fromkeys(("matmul", "mm", "bmm"), _matmul),
    **dict.fromkeys(_RESHAPES, _reshape),
    "permute": _permute,
    **dict.fromkeys(("cat", "concat", "concatenate"), _cat),
    **dict.fromkeys(_TRANSPOSES, _transpose),
    **{
        name: _moving(name)
        for name in (
            *("slice", "select", "narrow", "split", "split_with_sizes", "chunk", "unbind"),
            *("expand", "expand_as", "broadcast_to", "repeat", "flip", "t"),
        )
    },
}
