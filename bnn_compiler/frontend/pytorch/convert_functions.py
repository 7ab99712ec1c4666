"""Converters of element-wise functions and of operations on two computed tensors."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from bnn_compiler.frontend import elementwise, general
from bnn_compiler.frontend.pytorch.context import Context
from bnn_compiler.frontend.value import Value

_SELU_ALPHA, _SELU_SCALE = 1.6732632423543772, 1.0507009873554805


def _function(name: str) -> Callable[..., Value]:
    def convert(ctx: Context, x: Any) -> Value:
        return _apply(ctx, name, x)

    return convert


def _apply(ctx: Context, name: str, x: Any, params: Sequence[float] = ()) -> Value:
    value = ctx.any(x)
    if value.plain:
        return general.call(ctx.builder, name, [value], *map(float, params))
    return elementwise.function(ctx.builder, name, value, params)


def _gelu(ctx: Context, x: Any, approximate: str = "none") -> Value:
    return _apply(ctx, "gelu_tanh" if approximate == "tanh" else "gelu", x)


def _elu(
    ctx: Context, x: Any, alpha: float = 1.0, scale: float = 1.0, input_scale: float = 1.0
) -> Value:
    return _apply(ctx, "elu", x, (alpha * scale, scale, input_scale))


def _selu(ctx: Context, x: Any) -> Value:
    return _elu(ctx, x, _SELU_ALPHA, _SELU_SCALE)


def _celu(ctx: Context, x: Any, alpha: float = 1.0) -> Value:
    return _elu(ctx, x, alpha, 1.0, 1.0 / alpha)


def _softplus(ctx: Context, x: Any, beta: float = 1.0, threshold: float = 20.0) -> Value:
    return _apply(ctx, "softplus", x, (beta, threshold))


def _threshold(ctx: Context, x: Any, threshold: float, value: float) -> Value:
    return _apply(ctx, "threshold", x, (threshold, value))


def _levels(name: str) -> Callable[..., Value]:
    def convert(ctx: Context, x: Any, *params: float) -> Value:
        return _apply(ctx, name, x, params)

    return convert


def _shrink(name: str) -> Callable[..., Value]:
    def convert(ctx: Context, x: Any, width: float = 0.5) -> Value:
        return _apply(ctx, name, x, (width,))

    return convert


def _round(ctx: Context, x: Any, decimals: int = 0) -> Value:
    if decimals:
        raise ctx.fail(f"rounding to {decimals} decimals; only to integers can be compiled")
    return _apply(ctx, "round", x)


def _pow(ctx: Context, x: Any, exponent: Any) -> Value:
    number = ctx.constant(exponent)
    if number is None or number.size != 1:
        raise ctx.fail("its exponent must be one constant number")
    return elementwise.power(ctx.builder, ctx.data(x), float(number.item()))


def _addcmul(ctx: Context, x: Any, a: Any, b: Any, value: float = 1.0) -> Value:
    build = ctx.builder
    return build.add(ctx.operand(x), build.multiply(ctx.operand(a), ctx.operand(b)), value)


def _extreme(operation: str) -> Callable[..., Value]:
    def convert(ctx: Context, a: Any, b: Any) -> Value:
        for x, bound in ((a, b), (b, a)):
            constant = ctx.constant(bound)
            if constant is None:
                continue
            if np.unique(constant).size != 1:
                raise ctx.fail("a constant operand must be one number")
            number = float(constant.flat[0])
            limits = {"high": number} if operation == "minimum" else {"low": number}
            return ctx.builder.clip(ctx.data(x), **limits)
        return elementwise.combine(ctx.builder, operation, ctx.data(a), ctx.data(b))

    return convert


_SAME_NAME = (
    *("exp", "expm1", "log", "log1p", "tanh", "sigmoid", "erf", "sqrt", "rsqrt", "reciprocal"),
    *("square", "abs", "floor", "ceil", "trunc", "silu", "mish", "exp2", "log2", "log10", "erfc"),
    *("sin", "cos", "tan", "asin", "acos", "atan", "sinh", "cosh"),
)

#: PyTorch operator -> converter.
HANDLERS: dict[str, Callable[..., Value]] = {
    **{name: _function(name) for name in _SAME_NAME},
    "round": _round,
    "pow": _pow,
    "gelu": _gelu,
    "elu": _elu,
    "selu": _selu,
    "celu": _celu,
    "softplus": _softplus,
    "log_sigmoid": _function("log_sigmoid"),
    "hardsigmoid": _function("hard_sigmoid"),
    "hardswish": _function("hard_swish"),
    "threshold": _threshold,
    "softshrink": _shrink("softshrink"),
    "hardshrink": _shrink("hardshrink"),
    # levels.py makes these of PyTorch's operators.
    "_quantize": _levels("quantize"),
    "_fake_quantize": _levels("fake_quantize"),
    "addcmul": _addcmul,
    "minimum": _extreme("minimum"),
    "maximum": _extreme("maximum"),
}
