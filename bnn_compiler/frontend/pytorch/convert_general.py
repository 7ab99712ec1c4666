"""Converters for tensors of any rank: each operator as primitives of plain values.

They take what the converters of images and matrices (converters.py) cannot.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from bnn_compiler.frontend import general
from bnn_compiler.frontend.general import Operand
from bnn_compiler.frontend.pytorch import convert_moves
from bnn_compiler.frontend.pytorch.context import Context
from bnn_compiler.frontend.value import Value


def call(ctx: Context, op: str, *operands: Operand, params: Sequence[Any] = ()) -> Value:
    """A primitive of ops/primitives.py."""
    return general.call(ctx.builder, op, operands, *params)


def rank(ctx: Context, x: Any) -> int:
    """Of a computed node."""
    return len(ctx.any(x).shape)


def axes_of(ctx: Context, x: Any, dims: Any) -> tuple[int, ...]:
    """Dimensions counted from 0, in order; None or () are all."""
    n = rank(ctx, x)
    listed = range(n) if dims is None else dims if isinstance(dims, list | tuple) else [dims]
    return tuple(sorted(int(d) % n for d in (listed or range(n))))


def _scaled(ctx: Context, x: Operand, factor: Any) -> Operand:
    return x if factor == 1 else call(ctx, "mul", x, float(factor))


def _arithmetic(op: str, *, turned: bool = False) -> Callable[..., Value]:
    def convert(ctx: Context, a: Any, b: Any, alpha: Any = 1) -> Value:
        x, y = ctx.plain(a), ctx.plain(b)
        if turned:
            return call(ctx, op, y, _scaled(ctx, x, alpha))
        return call(ctx, op, x, _scaled(ctx, y, alpha))

    return convert


def _divide(ctx: Context, a: Any, b: Any, rounding_mode: Any = None) -> Value:
    found = call(ctx, "div", ctx.plain(a), ctx.plain(b))
    return found if rounding_mode is None else call(ctx, str(rounding_mode), found)


def _compare(op: str, *, turned: bool = False, negated: bool = False) -> Callable[..., Value]:
    def convert(ctx: Context, a: Any, b: Any) -> Value:
        x, y = ctx.plain(a), ctx.plain(b)
        found = call(ctx, op, *((y, x) if turned else (x, y)))
        return call(ctx, "sub", 1.0, found) if negated else found

    return convert


def _logical(op: str) -> Callable[..., Value]:
    def convert(ctx: Context, a: Any, b: Any) -> Value:
        return call(ctx, op, _truth(ctx, a), _truth(ctx, b))

    return convert


def _truth(ctx: Context, x: Any) -> Value:
    return call(ctx, "sub", 1.0, call(ctx, "equal", ctx.plain(x), 0.0))


def _not(ctx: Context, x: Any) -> Value:
    return call(ctx, "equal", ctx.plain(x), 0.0)


def _where(ctx: Context, mask: Any, a: Any, b: Any) -> Value:
    return call(ctx, "where", ctx.plain(mask), ctx.plain(a), ctx.plain(b))


def _masked_fill(ctx: Context, x: Any, mask: Any, value: Any) -> Value:
    return call(ctx, "where", ctx.plain(mask), ctx.plain(value), ctx.plain(x))


def _clamp(ctx: Context, x: Any, min: Any = None, max: Any = None) -> Value:
    found = ctx.plain(x)
    for op, bound in (("max", min), ("min", max)):
        if bound is not None:
            found = call(ctx, op, found, ctx.plain(bound))
    return found if isinstance(found, Value) else call(ctx, "copy", found)


def _clip(low: float, high: float) -> Callable[..., Value]:
    def convert(ctx: Context, x: Any, min_val: float = low, max_val: float = high) -> Value:
        return call(ctx, "clip", ctx.plain(x), params=(float(min_val), float(max_val)))

    return convert


def _sign(ctx: Context, x: Any, zero: int = 0) -> Value:
    return call(ctx, "sign", ctx.plain(x), params=(float(zero),))


def _prelu(ctx: Context, x: Any, slope: Any) -> Value:
    value, slopes = ctx.plain(x), ctx.plain(slope)
    if isinstance(slopes, np.ndarray) and slopes.size > 1 and slopes.ndim == 1:
        slopes = slopes.reshape(-1, *[1] * (rank(ctx, x) - 2))
    below = call(ctx, "mul", value, slopes)
    return call(ctx, "where", call(ctx, "less", 0.0, value), value, below)


def _leaky_relu(ctx: Context, x: Any, negative_slope: float = 0.01) -> Value:
    return _prelu(ctx, x, negative_slope)


# ---- reductions


def reduce(ctx: Context, op: str, x: Value, axes: Sequence[int], keepdim: bool) -> Value:
    """sum, prod, reduce_max or reduce_min over axes."""
    found = call(ctx, op, x, params=(tuple(axes),)) if axes else x
    if not keepdim:
        return found
    shape = tuple(1 if i in axes else n for i, n in enumerate(x.shape))
    return call(ctx, "reshape", found, params=(shape,))


def _reduction(op: str) -> Callable[..., Value]:
    def convert(ctx: Context, x: Any, dim: Any = None, keepdim: bool = False) -> Value:
        return reduce(ctx, op, _value(ctx, x), axes_of(ctx, x, dim), keepdim)

    return convert


def _value(ctx: Context, x: Any) -> Value:
    return general.plain(ctx.builder, ctx.any(x))


def mean_of(ctx: Context, x: Value, axes: Sequence[int], keepdim: bool) -> Value:
    """The sum times the rounded reciprocal of the count."""
    count = math.prod(x.shape[a] for a in axes)
    return call(ctx, "mul", reduce(ctx, "sum", x, axes, keepdim), float(np.float32(1.0 / count)))


def _mean(ctx: Context, x: Any, dim: Any = None, keepdim: bool = False) -> Value:
    return mean_of(ctx, _value(ctx, x), axes_of(ctx, x, dim), keepdim)


def centred(ctx: Context, x: Value, axes: Sequence[int]) -> tuple[Value, Value]:
    """x - mean, and the mean of its squares, with axes of 1."""
    around = call(ctx, "sub", x, mean_of(ctx, x, axes, True))
    return around, mean_of(ctx, call(ctx, "mul", around, around), axes, True)


def _variance(ctx: Context, x: Any, dim: Any, correction: Any, keepdim: bool) -> Value:
    value, axes = _value(ctx, x), axes_of(ctx, x, dim)
    around, _ = centred(ctx, value, axes)
    total = reduce(ctx, "sum", call(ctx, "mul", around, around), axes, keepdim)
    count = math.prod(value.shape[a] for a in axes) - (1 if correction is None else correction)
    return call(ctx, "div", total, float(max(count, 0)))


def _var(ctx: Context, x: Any, dim: Any = None, correction: Any = None, keepdim: Any = False,
         unbiased: Any = None) -> Value:  # fmt: skip
    if isinstance(dim, bool):
        dim, unbiased = None, dim
    if isinstance(correction, bool):
        correction = int(correction)
    return _variance(ctx, x, dim, int(unbiased) if unbiased is not None else correction, keepdim)


def _std(ctx: Context, *args: Any, **kwargs: Any) -> Value:
    return call(ctx, "sqrt", _var(ctx, *args, **kwargs))


def _var_mean(ctx: Context, x: Any, dim: Any = None, correction: Any = None,
              keepdim: Any = False) -> list[Value]:  # fmt: skip
    return [_var(ctx, x, dim, correction, keepdim), _mean(ctx, x, dim, keepdim)]


def _max_of(op: str, pairwise: str) -> Callable[..., Any]:
    def convert(ctx: Context, x: Any, dim: Any = None, keepdim: bool = False) -> Any:
        if dim is None:
            return reduce(ctx, op, _value(ctx, x), axes_of(ctx, x, None), False)
        if not isinstance(dim, int):
            return call(ctx, pairwise, ctx.plain(x), ctx.plain(dim))
        # Its indices are not computed.
        return [reduce(ctx, op, _value(ctx, x), axes_of(ctx, x, dim), keepdim)]

    return convert


def _norm(ctx: Context, x: Any, ord: Any = 2, dim: Any = None, keepdim: bool = False) -> Value:
    value, axes = _value(ctx, x), axes_of(ctx, x, dim)
    if ord == 1:
        return reduce(ctx, "sum", call(ctx, "abs", value), axes, keepdim)
    if ord == math.inf:
        return reduce(ctx, "reduce_max", call(ctx, "abs", value), axes, keepdim)
    if ord not in (2, None):
        raise ctx.fail(f"a norm of order {ord}; 1, 2 and infinity can be compiled")
    return call(ctx, "sqrt", reduce(ctx, "sum", call(ctx, "mul", value, value), axes, keepdim))


def _old_norm(ctx: Context, x: Any, p: Any = 2, dim: Any = None, keepdim: bool = False) -> Value:
    return _norm(ctx, x, p, dim, keepdim)


def _cumsum(ctx: Context, x: Any, dim: int) -> Value:
    (axis,) = axes_of(ctx, x, dim)
    return call(ctx, "cumsum", _value(ctx, x), params=(axis,))


def _softmax(ctx: Context, x: Any, dim: Any = None, *_: Any) -> Value:
    value, axes = _value(ctx, x), axes_of(ctx, x, _softmax_dim(ctx, x, dim))
    powers = call(ctx, "exp", _below_largest(ctx, value, axes))
    return call(ctx, "div", powers, reduce(ctx, "sum", powers, axes, True))


def _log_softmax(ctx: Context, x: Any, dim: Any = None, *_: Any) -> Value:
    value, axes = _value(ctx, x), axes_of(ctx, x, _softmax_dim(ctx, x, dim))
    below = _below_largest(ctx, value, axes)
    total = reduce(ctx, "sum", call(ctx, "exp", below), axes, True)
    return call(ctx, "sub", below, call(ctx, "log", total))


def _softmax_dim(ctx: Context, x: Any, dim: Any) -> int:
    """What PyTorch takes where none is given."""
    if dim is not None:
        return int(dim)
    return 0 if rank(ctx, x) in (0, 1, 3) else 1


def _below_largest(ctx: Context, x: Value, axes: Sequence[int]) -> Value:
    return call(ctx, "sub", x, reduce(ctx, "reduce_max", x, axes, True))


# ---- normalisation


def _normalised(
    ctx: Context,
    x: Value,
    axes: Sequence[int],
    eps: float,
    parameters: Sequence[Operand | None],
    shape: Sequence[int] | None = None,
) -> Value:
    """(x - mean) / sqrt(var + eps) * weight + bias, as ``shape``; ``parameters`` may be None."""
    around, variance = centred(ctx, x, axes)
    found = call(ctx, "mul", around, call(ctx, "rsqrt", call(ctx, "add", variance, float(eps))))
    if shape is not None:
        found = call(ctx, "reshape", found, params=(tuple(shape),))
    for op, parameter in zip(("mul", "add"), parameters, strict=True):
        if parameter is not None:
            found = call(ctx, op, found, parameter)
    return found


def _layer_norm(ctx: Context, x: Any, normalized_shape: Any, weight: Any = None, bias: Any = None,
                eps: float = 1e-5, *_: Any) -> Value:  # fmt: skip
    n, count = rank(ctx, x), len(normalized_shape)
    parameters = [None if p is None else ctx.plain(p) for p in (weight, bias)]
    return _normalised(ctx, _value(ctx, x), range(n - count, n), eps, parameters)


def _channels(ctx: Context, x: Any, parameter: Any) -> Operand | None:
    """A parameter [C] in the shape in which it is broadcast."""
    if parameter is None:
        return None
    found = ctx.plain(parameter)
    if not isinstance(found, np.ndarray):
        raise ctx.fail("its weight or bias is computed at run time")
    return found.reshape(-1, *[1] * (rank(ctx, x) - 2))


def _group_norm(ctx: Context, x: Any, num_groups: int, weight: Any = None, bias: Any = None,
                eps: float = 1e-5, *_: Any) -> Value:  # fmt: skip
    value = _value(ctx, x)
    n, c, *rest = value.shape
    grouped = call(
        ctx, "reshape", value, params=((n, num_groups, c // num_groups * math.prod(rest)),)
    )
    parameters = [_channels(ctx, x, p) for p in (weight, bias)]
    return _normalised(ctx, grouped, (2,), eps, parameters, value.shape)


def _instance_norm(ctx: Context, x: Any, weight: Any = None, bias: Any = None, mean: Any = None,
                   var: Any = None, use_input_stats: bool = True, momentum: float = 0.1,
                   eps: float = 1e-5, *_: Any) -> Value:  # fmt: skip
    if not use_input_stats:
        return _batch_norm(ctx, x, weight, bias, mean, var, False, momentum, eps)
    axes = range(2, rank(ctx, x))
    return _normalised(
        ctx, _value(ctx, x), axes, eps, [_channels(ctx, x, p) for p in (weight, bias)]
    )


def _batch_norm(ctx: Context, x: Any, weight: Any, bias: Any, mean: Any, var: Any,
                training: bool = False, momentum: float = 0.1, eps: float = 1e-5,
                *_: Any) -> Value:  # fmt: skip
    if training:
        raise ctx.fail("it normalises by the batch's own statistics; call model.eval()")
    parameters = [None if p is None else ctx.constant(p) for p in (weight, bias, mean, var)]
    gamma, beta, average, variance = parameters
    if average is None or variance is None:
        raise ctx.fail("it has no constant statistics")
    scale = 1.0 / np.sqrt(variance.astype(np.float64) + eps)
    scale = scale if gamma is None else scale * gamma
    shift = -average * scale + (0.0 if beta is None else beta)
    shape = (-1, *[1] * (rank(ctx, x) - 2))
    scaled = call(ctx, "mul", _value(ctx, x), scale.astype(np.float32).reshape(shape))
    return call(ctx, "add", scaled, np.asarray(shift, np.float32).reshape(shape))


# ---- products


def matmul(ctx: Context, a: Operand, b: Operand) -> Value:
    """As torch.matmul: vectors are rows in front and columns behind."""
    ranks = [np.ndim(v) if not isinstance(v, Value) else len(v.shape) for v in (a, b)]
    if ranks[0] == 1:
        a = call(ctx, "reshape", a, params=((1, _shape(a)[0]),))
    if ranks[1] == 1:
        b = call(ctx, "reshape", b, params=((_shape(b)[0], 1),))
    found = call(ctx, "matmul", a, b)
    gone = {len(found.shape) - 2} if ranks[0] == 1 else set[int]()
    gone |= {len(found.shape) - 1} if ranks[1] == 1 else set()
    kept = tuple(n for i, n in enumerate(found.shape) if i not in gone)
    return call(ctx, "reshape", found, params=(kept,)) if gone else found


def _shape(x: Operand) -> tuple[int, ...]:
    return x.shape if isinstance(x, Value) else np.shape(x)


def _matmul(ctx: Context, a: Any, b: Any) -> Value:
    return matmul(ctx, ctx.plain(a), ctx.plain(b))


def _addmm(ctx: Context, c: Any, a: Any, b: Any, beta: Any = 1, alpha: Any = 1) -> Value:
    product = _scaled(ctx, _matmul(ctx, a, b), alpha)
    return call(ctx, "add", product, _scaled(ctx, ctx.plain(c), beta))


def _linear(ctx: Context, x: Any, weight: Any, bias: Any = None) -> Value:
    w = ctx.plain(weight)
    if isinstance(w, np.ndarray):
        turned: Operand = np.ascontiguousarray(w.T)
    else:
        turned = call(ctx, "permute", w, params=((1, 0),))
    found = matmul(ctx, ctx.plain(x), turned)
    return found if bias is None else call(ctx, "add", found, ctx.plain(bias))


def _embedding(ctx: Context, table: Any, indices: Any, *_: Any) -> Value:
    return call(ctx, "take", ctx.plain(table), ctx.plain(indices), params=(0,))


def _same(ctx: Context, x: Any, *_: Any, **__: Any) -> Value:
    return _value(ctx, x)


def _cast(ctx: Context, x: Any, *_: Any, **__: Any) -> Value:
    """Truth values are 1 and 0 already; a cast to integers cuts."""
    value, to = _value(ctx, x), ctx.node.meta["val"].dtype
    if to.is_floating_point or _dtype(ctx, x) == to or str(_dtype(ctx, x)) == "torch.bool":
        return value
    return _truth(ctx, x) if str(to) == "torch.bool" else call(ctx, "trunc", value)


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
    "bitwise_and": _logical("min"),
    "bitwise_or": _logical("max"),
    "__and__": _logical("min"),
    "__or__": _logical("max"),
    "logical_not": _not,
    "bitwise_not": _not,
    "where": _where,
    "masked_fill": _masked_fill,
    "clamp": _clamp,
    "clamp_min": _clamp,
    "clamp_max": lambda ctx, x, max: _clamp(ctx, x, None, max),
    "relu": _clip(0.0, math.inf),
    "relu6": _clip(0.0, 6.0),
    "hardtanh": _clip(-1.0, 1.0),
    "sign": _sign,
    "neg": lambda ctx, x: call(ctx, "mul", ctx.plain(x), -1.0),
    "prelu": _prelu,
    "_prelu_kernel": _prelu,
    "leaky_relu": _leaky_relu,
    "sum": _reduction("sum"),
    "prod": _reduction("prod"),
    "amax": _reduction("reduce_max"),
    "amin": _reduction("reduce_min"),
    "mean": _mean,
    "var": _var,
    "std": _std,
    "var_mean": _var_mean,
    "max": _max_of("reduce_max", "max"),
    "min": _max_of("reduce_min", "min"),
    "linalg_vector_norm": _norm,
    "norm": _old_norm,
    "cumsum": _cumsum,
    "softmax": _softmax,
    "_softmax": _softmax,
    "log_softmax": _log_softmax,
    "_log_softmax": _log_softmax,
    "layer_norm": _layer_norm,
    "group_norm": _group_norm,
    "instance_norm": _instance_norm,
    "batch_norm": _batch_norm,
    "_native_batch_norm_legit_no_training": lambda ctx, x, w, b, m, v, _, eps: _batch_norm(
        ctx, x, w, b, m, v, eps=eps
    ),
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
}
