"""One converter per PyTorch operator: the form of aten's arguments in, the builder's calls out."""

from collections.abc import Callable
from typing import Any

import numpy as np

from bnn_compiler.frontend.pytorch import (
    convert_conv,
    convert_functions,
    convert_pool,
    convert_shape,
)
from bnn_compiler.frontend.pytorch.context import Context
from bnn_compiler.frontend.pytorch.convert_conv import bias_of
from bnn_compiler.frontend.value import Value


def _linear(ctx: Context, x: Any, w: Any, bias: Any = None) -> Value:
    value, weight = ctx.data(x), ctx.constant(w)
    if weight is None:
        raise ctx.fail("needs a constant weight and a [N, F] input")
    return ctx.builder.linear(value, weight, bias_of(ctx, bias))


# ---- normalisation and element-wise operators


def _batch_norm(
    ctx: Context,
    x: Any,
    gamma: Any,
    beta: Any,
    mean: Any,
    var: Any,
    training: bool,
    momentum: float,
    eps: float,
    cudnn: bool = False,
) -> Value:
    m, v = ctx.constant(mean), ctx.constant(var)
    if training or m is None or v is None:
        raise ctx.fail("batch norm by the batch's own statistics; call .eval() on the model")
    return ctx.builder.batch_norm(ctx.data(x), ctx.constant(gamma), ctx.constant(beta), m, v, eps)


def _batch_norm_no_training(
    ctx: Context, x: Any, g: Any, b: Any, m: Any, v: Any, momentum: float, eps: float
) -> Value:
    return _batch_norm(ctx, x, g, b, m, v, False, momentum, eps)


def _batch_norm_of_batch(ctx: Context, *_: Any) -> Value:
    raise ctx.fail("batch norm by the batch's own statistics; call .eval() on the model")


def _arithmetic(sign: int) -> Callable[..., Value]:
    def convert(ctx: Context, a: Any, b: Any, alpha: float = 1) -> Value:
        return ctx.builder.add(ctx.operand(a), ctx.operand(b), sign * alpha)

    return convert


def _rsub(ctx: Context, a: Any, b: Any, alpha: float = 1) -> Value:
    return _arithmetic(-1)(ctx, b, a, alpha)


def _mul(ctx: Context, a: Any, b: Any) -> Value:
    return ctx.builder.multiply(ctx.operand(a), ctx.operand(b))


def _div(ctx: Context, a: Any, b: Any, rounding_mode: Any = None) -> Value:
    if rounding_mode is not None:
        raise ctx.fail(f"rounding_mode {rounding_mode!r} cannot be compiled")
    return ctx.builder.divide(ctx.operand(a), ctx.operand(b))


def _neg(ctx: Context, x: Any) -> Value:
    return _mul(ctx, x, -1.0)


def _clip(lo: float, hi: float) -> Callable[..., Value]:
    def convert(ctx: Context, x: Any, low: Any = lo, high: Any = hi) -> Value:
        value = ctx.data(x)
        bounds = (_bound(ctx, low, -np.inf), _bound(ctx, high, np.inf))
        if ctx.node.meta["val"].numel() != int(np.prod(value.shape)):
            raise ctx.fail("its bounds have more dimensions than its input")
        return ctx.builder.clip(value, *bounds)

    return convert


def _bound(ctx: Context, bound: Any, absent: float) -> float:
    """A clamp's bound: a number, or a constant tensor of one value."""
    if bound is None:
        return absent
    constant = ctx.constant(bound)
    if constant is None:
        raise ctx.fail("a bound is computed at run time; only constant bounds can be compiled")
    values = np.unique(constant)
    if values.size != 1 or np.isnan(values[0]):
        raise ctx.fail(
            f"a bound of shape {list(constant.shape)} has {values.size} different values; only one"
            " number for the whole tensor can be compiled"
        )
    return float(values[0])


def _clamp(
    ctx: Context,
    x: Any,
    min: Any = None,
    max: Any = None,
) -> Value:
    return _clip(-np.inf, np.inf)(ctx, x, min, max)


def _prelu(ctx: Context, x: Any, slope: Any) -> Value:
    value, c = ctx.data(x), ctx.constant(slope)
    if c is None:
        raise ctx.fail("its slope is computed at run time")
    return ctx.builder.prelu(value, c)


def _rrelu(
    ctx: Context, x: Any, low: float = 1 / 8, high: float = 1 / 3, training: bool = False
) -> Value:
    # purity.py has refused training=True.
    return _leaky_relu(ctx, x, (low + high) / 2)


def _leaky_relu(ctx: Context, x: Any, slope: float = 0.01) -> Value:
    return ctx.builder.leaky_relu(ctx.data(x), slope)


def _sign(ctx: Context, x: Any, zero: int = 0) -> Value:
    return ctx.builder.sign(ctx.data(x), int(zero))


def _same(ctx: Context, x: Any, memory_format: Any = None) -> Value:
    return ctx.data(x)


#: PyTorch operator (its aten name without overload) -> converter.
HANDLERS: dict[str, Callable[..., Value]] = {
    "sign": _sign,
    **convert_conv.HANDLERS,
    "linear": _linear,
    "batch_norm": _batch_norm,
    "_native_batch_norm_legit_no_training": _batch_norm_no_training,
    "_native_batch_norm_legit": _batch_norm_of_batch,
    "_native_batch_norm_legit_functional": _batch_norm_of_batch,
    "add": _arithmetic(1),
    "sub": _arithmetic(-1),
    "rsub": _rsub,
    "mul": _mul,
    "div": _div,
    "neg": _neg,
    "relu": _clip(0.0, np.inf),
    "relu6": _clip(0.0, 6.0),
    "hardtanh": _clip(-1.0, 1.0),
    "clamp": _clamp,
    "clamp_min": _clamp,
    "clamp_max": lambda ctx, x, max: _clamp(ctx, x, None, max),
    "prelu": _prelu,
    "_prelu_kernel": _prelu,
    "leaky_relu": _leaky_relu,
    "rrelu": _rrelu,
    **convert_functions.HANDLERS,
    "max_pool1d": convert_pool.max_pool1d,
    "avg_pool1d": convert_pool.avg_pool1d,
    "max_pool2d": convert_pool.max_pool2d,
    "max_pool2d_with_indices": convert_pool.max_pool2d,
    "avg_pool2d": convert_pool.avg_pool2d,
    "adaptive_avg_pool2d": convert_pool.adaptive_avg_pool2d,
    "adaptive_max_pool2d": convert_pool.adaptive_max_pool2d,
    "mean": convert_pool.mean,
    **dict.fromkeys(("cat", "concat", "concatenate"), convert_shape.cat),
    "slice": convert_shape.channel_slice,
    "repeat": convert_shape.repeat,
    "view": convert_shape.reshape,
    "reshape": convert_shape.reshape,
    "flatten": convert_shape.reshape,
    "_unsafe_view": convert_shape.reshape,
    "squeeze": convert_shape.reshape,
    "unsqueeze": convert_shape.reshape,
    "pad": convert_shape.pad,
    "constant_pad_nd": convert_shape.constant_pad,
    "upsample_nearest2d": convert_shape.nearest("asymmetric"),
    "_upsample_nearest_exact2d": convert_shape.nearest("half_pixel"),
    "upsample_bilinear2d": convert_shape.bilinear,
    "getitem": convert_shape.first,
    "detach": _same,
    "clone": _same,
    "contiguous": _same,
}
