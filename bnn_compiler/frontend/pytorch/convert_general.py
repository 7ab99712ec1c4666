"""Converters for tensors of any rank: each operator as primitives of plain values.

They take what the converters of images and matrices (converters.py) cannot.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from bnn_compiler.frontend.general import Operand
from bnn_compiler.frontend.pytorch import (
    convert_bags,
    convert_index,
    convert_moves,
    convert_reduce,
)
from bnn_compiler.frontend.pytorch.context import Context
from bnn_compiler.frontend.pytorch.convert_computed_index import check
from bnn_compiler.frontend.value import Value


def _scaled(ctx: Context, x: Operand, factor: Any) -> Operand:
    return x if factor == 1 else ctx.call("mul", x, float(factor))


def _arithmetic(op: str, *, turned: bool = False) -> Callable[..., Value]:
    def convert(ctx: Context, a: Any, b: Any, alpha: Any = 1) -> Value:
        x, y = ctx.plain(a), ctx.plain(b)
        if turned:
            return ctx.call(op, y, _scaled(ctx, x, alpha))
        return ctx.call(op, x, _scaled(ctx, y, alpha))

    return convert


def _divide(ctx: Context, a: Any, b: Any, rounding_mode: Any = None) -> Value:
    found = ctx.call("div", ctx.plain(a), ctx.plain(b))
    return found if rounding_mode is None else ctx.call(str(rounding_mode), found)


def _compare(op: str, *, turned: bool = False, negated: bool = False) -> Callable[..., Value]:
    def convert(ctx: Context, a: Any, b: Any) -> Value:
        x, y = ctx.plain(a), ctx.plain(b)
        found = ctx.call(op, *((y, x) if turned else (x, y)))
        return ctx.call("sub", 1.0, found) if negated else found

    return convert


def _logical(op: str, *, bitwise: bool = False) -> Callable[..., Value]:
    def convert(ctx: Context, a: Any, b: Any) -> Value:
        if bitwise:
            _check_bool(ctx)
        return ctx.call(op, _truth(ctx, a), _truth(ctx, b))

    return convert


def _and(ctx: Context, a: Any, b: Any) -> Value:
    """Of truth values, or the low bits of an integer: x & 3 is x modulo 4."""
    mask = ctx.constant(b)
    count = 0 if mask is None or mask.size != 1 else int(mask.item()) + 1
    if str(ctx.node.meta["val"].dtype) == "torch.bool" or count < 2 or count & (count - 1):
        return _logical("min", bitwise=True)(ctx, a, b)
    value = ctx.plain(a)
    above = ctx.call("floor", ctx.call("mul", value, 1.0 / count))
    return ctx.call("sub", value, ctx.call("mul", above, float(count)))


def _truth(ctx: Context, x: Any) -> Value:
    return ctx.call("sub", 1.0, ctx.call("equal", ctx.plain(x), 0.0))


def _check_bool(ctx: Context) -> None:
    if str(ctx.node.meta["val"].dtype) != "torch.bool":
        raise ctx.fail("bits of integers; only truth values can be compiled")


def _bitwise_not(ctx: Context, x: Any) -> Value:
    _check_bool(ctx)
    return _not(ctx, x)


def _not(ctx: Context, x: Any) -> Value:
    return ctx.call("equal", ctx.plain(x), 0.0)


def _where(ctx: Context, mask: Any, a: Any, b: Any) -> Value:
    return ctx.call("where", ctx.plain(mask), ctx.plain(a), ctx.plain(b))


def _masked_fill(ctx: Context, x: Any, mask: Any, value: Any) -> Value:
    return ctx.call("where", ctx.plain(mask), ctx.plain(value), ctx.plain(x))


def _clamp(ctx: Context, x: Any, min: Any = None, max: Any = None) -> Value:
    found = ctx.plain(x)
    for op, bound in (("max", min), ("min", max)):
        if bound is None:
            continue
        limit = ctx.plain(bound)
        if not isinstance(limit, Value) and np.isnan(limit).any():
            raise ctx.fail("its bound is NaN")
        found = ctx.call(op, found, limit)
    return found if isinstance(found, Value) else ctx.call("copy", found)


def _clip(low: float, high: float) -> Callable[..., Value]:
    def convert(ctx: Context, x: Any, min_val: float = low, max_val: float = high) -> Value:
        return ctx.call("clip", ctx.plain(x), params=(float(min_val), float(max_val)))

    return convert


def _sign(ctx: Context, x: Any, zero: int = 0) -> Value:
    return ctx.call("sign", ctx.plain(x), params=(float(zero),))


def _prelu(ctx: Context, x: Any, slope: Any) -> Value:
    value, slopes = ctx.plain(x), ctx.plain(slope)
    if isinstance(slopes, np.ndarray) and slopes.size > 1 and slopes.ndim == 1:
        slopes = slopes.reshape(-1, *[1] * (ctx.rank(x) - 2))
    below = ctx.call("mul", value, slopes)
    return ctx.call("where", ctx.call("less", 0.0, value), value, below)


def _leaky_relu(ctx: Context, x: Any, negative_slope: float = 0.01) -> Value:
    return _prelu(ctx, x, negative_slope)


# ---- products


def matmul(ctx: Context, a: Operand, b: Operand) -> Value:
    """As torch.matmul: vectors are rows in front and columns behind."""
    ranks = [np.ndim(v) if not isinstance(v, Value) else len(v.shape) for v in (a, b)]
    if ranks[0] == 1:
        a = ctx.call("reshape", a, params=((1, _shape(a)[0]),))
    if ranks[1] == 1:
        b = ctx.call("reshape", b, params=((_shape(b)[0], 1),))
    found = ctx.call("matmul", a, b)
    gone = {len(found.shape) - 2} if ranks[0] == 1 else set[int]()
    gone |= {len(found.shape) - 1} if ranks[1] == 1 else set()
    kept = tuple(n for i, n in enumerate(found.shape) if i not in gone)
    return ctx.call("reshape", found, params=(kept,)) if gone else found


def _shape(x: Operand) -> tuple[int, ...]:
    return x.shape if isinstance(x, Value) else np.shape(x)


def _matmul(ctx: Context, a: Any, b: Any) -> Value:
    return matmul(ctx, ctx.plain(a), ctx.plain(b))


def _addmm(ctx: Context, c: Any, a: Any, b: Any, beta: Any = 1, alpha: Any = 1) -> Value:
    product = _scaled(ctx, _matmul(ctx, a, b), alpha)
    return ctx.call("add", product, _scaled(ctx, ctx.plain(c), beta))


def _linear(ctx: Context, x: Any, weight: Any, bias: Any = None) -> Value:
    w = ctx.plain(weight)
    if isinstance(w, np.ndarray):
        turned: Operand = np.ascontiguousarray(w.T)
    else:
        turned = ctx.call("permute", w, params=((1, 0),))
    found = matmul(ctx, ctx.plain(x), turned)
    return found if bias is None else ctx.call("add", found, ctx.plain(bias))


def _embedding(ctx: Context, table: Any, indices: Any, *_: Any) -> Value:
    check(ctx, int(table.meta["val"].shape[0]))
    return ctx.call("take", ctx.plain(table), ctx.plain(indices), params=(0,))


def _same(ctx: Context, x: Any, *_: Any, **__: Any) -> Value:
    return ctx.tensor(x)


def _cast(ctx: Context, x: Any, *_: Any, **__: Any) -> Value:
    """Truth values are 1 and 0 already; a cast to integers cuts."""
    value, to = ctx.tensor(x), ctx.node.meta["val"].dtype
    if to.is_floating_point or _dtype(ctx, x) == to or str(_dtype(ctx, x)) == "torch.bool":
        return value
    return _truth(ctx, x) if str(to) == "torch.bool" else ctx.call("trunc", value)


def _dtype(ctx: Context, x: Any) -> Any:
    return x.meta["val"].dtype


#: PyTorch operator -> converter of plain values.
GENERAL: dict[str, Callable[..., Any]] = {
    "add": _arithmetic("add"),
    "sub": _arithmetic("sub"),
    "rsub": _arithmetic("sub", turned=True),
    "mul": _arithmetic("mul"),
    "div": _divide,
    "maximum": _arithmetic("max"),
    "minimum": _arithmetic("min"),
    "eq": _compare("equal"),
    "ne": _compare("equal", negated=True),
    "lt": _compare("less"),
    "le": _compare("less_equal"),
    "gt": _compare("less", turned=True),
    "ge": _compare("less_equal", turned=True),
    "logical_and": _logical("min"),
    "logical_or": _logical("max"),
    "bitwise_and": _and,
    "bitwise_or": _logical("max", bitwise=True),
    "__and__": _and,
    "__or__": _logical("max", bitwise=True),
    "logical_not": _not,
    "bitwise_not": _bitwise_not,
    "where": _where,
    "masked_fill": _masked_fill,
    "clamp": _clamp,
    "clamp_min": _clamp,
    "clamp_max": lambda ctx, x, max: _clamp(ctx, x, None, max),
    "relu": _clip(0.0, math.inf),
    "relu6": _clip(0.0, 6.0),
    "hardtanh": _clip(-1.0, 1.0),
    "sign": _sign,
    "neg": lambda ctx, x: ctx.call("mul", ctx.plain(x), -1.0),
    "prelu": _prelu,
    "_prelu_kernel": _prelu,
    "leaky_relu": _leaky_relu,
    "matmul": _matmul,
    "mm": _matmul,
    "bmm": _matmul,
    "addmm": _addmm,
    "baddbmm": _addmm,
    "linear": _linear,
    "embedding": _embedding,
    "detach": _same,
    "clone": _same,
    "contiguous": _same,
    "to": _cast,
    "_to_copy": _cast,
    "type_as": _cast,
    **convert_moves.MOVES,
    **convert_reduce.REDUCTIONS,
    **convert_index.INDICES,
    **convert_bags.BAGS,
}
