"""Converters of reductions and norms of tensors of any rank.

A mean is the sum, in index order, times the rounded reciprocal of the count.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from bnn_compiler.frontend.general import Operand
from bnn_compiler.frontend.pytorch.context import Context
from bnn_compiler.frontend.value import Value

# ---- reductions


def reduce(ctx: Context, op: str, x: Value, axes: Sequence[int], keepdim: bool) -> Value:
    """sum, prod, reduce_max or reduce_min over axes."""
    found = ctx.call(op, x, params=(tuple(axes),)) if axes else x
    if not keepdim:
        return found
    shape = tuple(1 if i in axes else n for i, n in enumerate(x.shape))
    return ctx.call("reshape", found, params=(shape,))


def _reduction(op: str) -> Callable[..., Value]:
    def convert(ctx: Context, x: Any, dim: Any = None, keepdim: bool = False) -> Value:
        return reduce(ctx, op, ctx.tensor(x), ctx.axes(x, dim), keepdim)

    return convert


def mean_of(ctx: Context, x: Value, axes: Sequence[int], keepdim: bool) -> Value:
    """The sum times the rounded reciprocal of the count."""
    count = math.prod(x.shape[a] for a in axes)
    return ctx.call("mul", reduce(ctx, "sum", x, axes, keepdim), float(np.float32(1.0 / count)))


def _mean(ctx: Context, x: Any, dim: Any = None, keepdim: bool = False) -> Value:
    return mean_of(ctx, ctx.tensor(x), ctx.axes(x, dim), keepdim)


def centred(ctx: Context, x: Value, axes: Sequence[int]) -> tuple[Value, Value]:
    """x - mean, and the mean of its squares, with axes of 1."""
    around = ctx.call("sub", x, mean_of(ctx, x, axes, True))
    return around, mean_of(ctx, ctx.call("mul", around, around), axes, True)


def _variance(ctx: Context, x: Any, dim: Any, correction: Any, keepdim: bool) -> Value:
    value, axes = ctx.tensor(x), ctx.axes(x, dim)
    around, _ = centred(ctx, value, axes)
    total = reduce(ctx, "sum", ctx.call("mul", around, around), axes, keepdim)
    count = math.prod(value.shape[a] for a in axes) - (1 if correction is None else correction)
    return ctx.call("div", total, float(max(count, 0)))


def _var(ctx: Context, x: Any, dim: Any = None, correction: Any = None, keepdim: Any = False,
         unbiased: Any = None) -> Value:  # fmt: skip
    if isinstance(dim, bool):
        dim, unbiased = None, dim
    if isinstance(correction, bool):
        correction = int(correction)
    return _variance(ctx, x, dim, int(unbiased) if unbiased is not None else correction, keepdim)


def _std(ctx: Context, *args: Any, **kwargs: Any) -> Value:
    return ctx.call("sqrt", _var(ctx, *args, **kwargs))


def _var_mean(ctx: Context, x: Any, dim: Any = None, correction: Any = None,
              keepdim: Any = False) -> list[Value]:  # fmt: skip
    return [_var(ctx, x, dim, correction, keepdim), _mean(ctx, x, dim, keepdim)]


def _norm(ctx: Context, x: Any, ord: Any = 2, dim: Any = None, keepdim: bool = False) -> Value:
    value, axes = ctx.tensor(x), ctx.axes(x, dim)
    if ord == 1:
        return reduce(ctx, "sum", ctx.call("abs", value), axes, keepdim)
    if ord == math.inf:
        return reduce(ctx, "reduce_max", ctx.call("abs", value), axes, keepdim)
    if ord == -math.inf:
        return reduce(ctx, "reduce_min", ctx.call("abs", value), axes, keepdim)
    if ord == 0:
        return reduce(
            ctx, "sum", ctx.call("sub", 1.0, ctx.call("equal", value, 0.0)), axes, keepdim
        )
    if ord not in (2, None):
        # |x| ** p, as exp(p * log |x|).
        powers = _exp_log(ctx, ctx.call("abs", value), float(ord))
        return _exp_log(ctx, reduce(ctx, "sum", powers, axes, keepdim), 1.0 / float(ord))
    return ctx.call("sqrt", reduce(ctx, "sum", ctx.call("mul", value, value), axes, keepdim))


def _exp_log(ctx: Context, x: Value, exponent: float) -> Value:
    return ctx.call("exp", ctx.call("mul", ctx.call("log", x), exponent))


def _old_norm(ctx: Context, x: Any, p: Any = 2, dim: Any = None, keepdim: bool = False) -> Value:
    return _norm(ctx, x, p, dim, keepdim)


def _cumsum(ctx: Context, x: Any, dim: int) -> Value:
    (axis,) = ctx.axes(x, dim)
    return ctx.call("cumsum", ctx.tensor(x), params=(axis,))


def _softmax(ctx: Context, x: Any, dim: Any = None, *_: Any) -> Value:
    value, axes = ctx.tensor(x), ctx.axes(x, _softmax_dim(ctx, x, dim))
    powers = ctx.call("exp", _below_largest(ctx, value, axes))
    return ctx.call("div", powers, reduce(ctx, "sum", powers, axes, True))


def _log_softmax(ctx: Context, x: Any, dim: Any = None, *_: Any) -> Value:
    value, axes = ctx.tensor(x), ctx.axes(x, _softmax_dim(ctx, x, dim))
    below = _below_largest(ctx, value, axes)
    total = reduce(ctx, "sum", ctx.call("exp", below), axes, True)
    return ctx.call("sub", below, ctx.call("log", total))


def _softmax_dim(ctx: Context, x: Any, dim: Any) -> int:
    """What PyTorch takes where none is given."""
    if dim is not None:
        return int(dim)
    return 0 if ctx.rank(x) in (0, 1, 3) else 1


def _below_largest(ctx: Context, x: Value, axes: Sequence[int]) -> Value:
    return ctx.call("sub", x, reduce(ctx, "reduce_max", x, axes, True))


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
    found = ctx.call("mul", around, ctx.call("rsqrt", ctx.call("add", variance, float(eps))))
    if shape is not None:
        found = ctx.call("reshape", found, params=(tuple(shape),))
    for op, parameter in zip(("mul", "add"), parameters, strict=True):
        if parameter is not None:
            found = ctx.call(op, found, parameter)
    return found


def _layer_norm(ctx: Context, x: Any, normalized_shape: Any, weight: Any = None, bias: Any = None,
                eps: float = 1e-5, *_: Any) -> Value:  # fmt: skip
    n, count = ctx.rank(x), len(normalized_shape)
    parameters = [None if p is None else ctx.plain(p) for p in (weight, bias)]
    return _normalised(ctx, ctx.tensor(x), range(n - count, n), eps, parameters)


def _channels(ctx: Context, x: Any, parameter: Any) -> Operand | None:
    """A parameter [C] in the shape in which it is broadcast."""
    if parameter is None:
        return None
    found = ctx.plain(parameter)
    if not isinstance(found, np.ndarray):
        raise ctx.fail("its weight or bias is computed at run time")
    return found.reshape(-1, *[1] * (ctx.rank(x) - 2))


def _group_norm(ctx: Context, x: Any, num_groups: int, weight: Any = None, bias: Any = None,
                eps: float = 1e-5, *_: Any) -> Value:  # fmt: skip
    value = ctx.tensor(x)
    n, c, *rest = value.shape
    grouped = ctx.call(
        "reshape", value, params=((n, num_groups, c // num_groups * math.prod(rest)),)
    )
    parameters = [_channels(ctx, x, p) for p in (weight, bias)]
    return _normalised(ctx, grouped, (2,), eps, parameters, value.shape)


def _instance_norm(ctx: Context, x: Any, weight: Any = None, bias: Any = None, mean: Any = None,
                   var: Any = None, use_input_stats: bool = True, momentum: float = 0.1,
                   eps: float = 1e-5, *_: Any) -> Value:  # fmt: skip
    if not use_input_stats:
        return _batch_norm(ctx, x, weight, bias, mean, var, False, momentum, eps)
    axes = range(2, ctx.rank(x))
    return _normalised(
        ctx, ctx.tensor(x), axes, eps, [_channels(ctx, x, p) for p in (weight, bias)]
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
    shape = (-1, *[1] * (ctx.rank(x) - 2))
    scaled = ctx.call("mul", ctx.tensor(x), scale.astype(np.float32).reshape(shape))
    return ctx.call("add", scaled, np.asarray(shift, np.float32).reshape(shape))


#: PyTorch operator -> converter of plain values.
REDUCTIONS: dict[str, Callable[..., Any]] = {
    "sum": _reduction("sum"),
    "prod": _reduction("prod"),
    "amax": _reduction("reduce_max"),
    "amin": _reduction("reduce_min"),
    "mean": _mean,
    "var": _var,
    "std": _std,
    "var_mean": _var_mean,
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
}
