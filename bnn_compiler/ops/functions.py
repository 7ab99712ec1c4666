"""Functions of one float32 value, each a chain of exactly defined operations.

exp, log, tanh, erf, sin and their like are polynomials of fma, so that numpy and every target
compute the same bits: nothing calls a libm. Those of exponential.py and trigonometric.py are within
2 ulp of the correctly rounded value, denormal results included. Parameters are literals:

    evaluate("elu", x, (1.0, 1.0, 1.0))

A product is an fma with 0, because LLVM would contract another one with the sum that follows it.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bnn_compiler.ops import trigonometric
from bnn_compiler.ops.arithmetic import Arithmetic, Numpy, clamped, negated, product
from bnn_compiler.ops.exponential import (
    erf,
    erfc,
    exp,
    exp2,
    expm1,
    log,
    log1p,
    log2,
    log10,
    power,
    sigmoid,
    tanh,
)
from bnn_compiler.ops.reference import Float


@dataclass(frozen=True)
class Function:
    """``chain`` (arithmetic, value, *params) is the value; ``params`` how many literals it has.

    ``falls`` says of a monotone function whether it falls; None if it is not monotone, or only
    but for rounding.
    """

    chain: Callable[..., Any]
    params: int = 0
    falls: bool | None = None


# ---- activations


def _gelu(m: Arithmetic, x: Any) -> Any:
    e = erf(m, product(m, x, math.sqrt(0.5)))
    return product(m, product(m, x, 0.5), m.add(e, 1.0))


def _gelu_tanh(m: Arithmetic, x: Any) -> Any:
    cube = product(m, product(m, x, x), x)
    t = tanh(m, product(m, m.fma(cube, 0.044715, x), math.sqrt(2 / math.pi)))
    return product(m, product(m, x, 0.5), m.add(t, 1.0))


def _mish(m: Arithmetic, x: Any) -> Any:
    # tanh(log(1 + e)) is (e**2 + 2 e) / (e**2 + 2 e + 2).
    e = exp(m, m.where(m.less(30.0, x), 30.0, x))
    n = product(m, e, m.add(e, 2.0))
    return product(m, x, m.div(n, m.add(n, 2.0)))


def _softplus(m: Arithmetic, x: Any, beta: float, threshold: float) -> Any:
    y = product(m, x, beta)
    part = log1p(m, exp(m, negated(m, m.absolute(y))))
    total = m.add(m.where(m.less(y, 0.0), 0.0, y), part)
    total = total if beta == 1 else m.div(total, beta)
    return m.where(m.less(threshold, y), x, total)


def _log_sigmoid(m: Arithmetic, x: Any) -> Any:
    part = log1p(m, exp(m, negated(m, m.absolute(x))))
    return m.sub(m.where(m.less(x, 0.0), x, 0.0), part)


def _elu(m: Arithmetic, x: Any, below: float, above: float, inside: float) -> Any:
    negative = product(m, expm1(m, product(m, x, inside)), below)
    return m.where(m.less(0.0, x), product(m, x, above), negative)


def _hard_gate(m: Arithmetic, x: Any) -> Any:
    return clamped(m, m.add(x, 3.0), 0.0, 6.0)


def _threshold(m: Arithmetic, x: Any, threshold: float, value: float) -> Any:
    return m.where(m.less(threshold, x), x, m.where(m.equal(x, x), value, x))


def _softshrink(m: Arithmetic, x: Any, width: float) -> Any:
    inner = product(m, x, 0.0)
    inner = m.where(m.less(x, -width), m.add(x, width), inner)
    return m.where(m.less(width, x), m.sub(x, width), inner)


def _hardshrink(m: Arithmetic, x: Any, width: float) -> Any:
    return m.where(m.less(width, m.absolute(x)), x, m.where(m.equal(x, x), 0.0, x))


def _trunc(m: Arithmetic, x: Any) -> Any:
    return m.where(m.less(x, 0.0), m.ceil(x), m.floor(x))


# ---- quantisation


def _quantize(m: Arithmetic, x: Any, inverse: float, zero: float, low: float, high: float) -> Any:
    return clamped(m, m.add(m.rounded(product(m, x, inverse)), zero), low, high)


def _fake_quantize(m: Arithmetic, x: Any, *params: float) -> Any:
    *levels, scale = params
    return product(m, m.sub(_quantize(m, x, *levels), levels[1]), scale)


#: Every function.
FUNCTIONS: dict[str, Function] = {
    "exp": Function(exp),
    "expm1": Function(expm1),
    "log": Function(log),
    "tanh": Function(tanh),
    "sigmoid": Function(sigmoid),
    "erf": Function(erf),
    "log1p": Function(log1p),
    "exp2": Function(exp2),
    "log2": Function(log2),
    "log10": Function(log10),
    "erfc": Function(erfc),
    "sin": Function(trigonometric.sin),
    "cos": Function(trigonometric.cos),
    "tan": Function(trigonometric.tan),
    "asin": Function(trigonometric.asin),
    "acos": Function(trigonometric.acos),
    "atan": Function(trigonometric.atan),
    "sinh": Function(trigonometric.sinh),
    "cosh": Function(trigonometric.cosh),
    "sqrt": Function(lambda m, x: m.sqrt(x), falls=False),
    "rsqrt": Function(lambda m, x: m.div(1.0, m.sqrt(x)), falls=None),
    "reciprocal": Function(lambda m, x: m.div(1.0, x)),
    "square": Function(lambda m, x: product(m, x, x)),
    "power": Function(power, params=1),
    "abs": Function(lambda m, x: m.absolute(x)),
    "negative": Function(negated, falls=True),
    "round": Function(lambda m, x: m.rounded(x), falls=False),
    "floor": Function(lambda m, x: m.floor(x), falls=False),
    "ceil": Function(lambda m, x: m.ceil(x), falls=False),
    "trunc": Function(_trunc, falls=False),
    "silu": Function(lambda m, x: product(m, x, sigmoid(m, x))),
    "gelu": Function(_gelu),
    "gelu_tanh": Function(_gelu_tanh),
    "mish": Function(_mish),
    "softplus": Function(_softplus, params=2),
    "log_sigmoid": Function(_log_sigmoid),
    "elu": Function(_elu, params=3),
    "softsign": Function(lambda m, x: m.div(x, m.add(m.absolute(x), 1.0))),
    "hard_sigmoid": Function(lambda m, x: m.div(_hard_gate(m, x), 6.0), falls=False),
    "hard_swish": Function(lambda m, x: m.div(product(m, x, _hard_gate(m, x)), 6.0)),
    "threshold": Function(_threshold, params=2),
    "softshrink": Function(_softshrink, params=1, falls=False),
    "hardshrink": Function(_hardshrink, params=1, falls=False),
    # inverse of the scale, zero point, lowest and highest level; the scale.
    "quantize": Function(_quantize, params=4, falls=False),
    "fake_quantize": Function(_fake_quantize, params=5, falls=False),
    "tanhshrink": Function(lambda m, x: m.sub(x, tanh(m, x))),
}


#: Those whose value rounding decides.
LEVELS = ("quantize", "fake_quantize")


class _Counter:
    """An arithmetic that only counts."""

    def __init__(self) -> None:
        self.operations = 0

    def __getattr__(self, _: str) -> Callable[..., str]:
        def count(*_: Any) -> str:
            self.operations += 1
            return ""

        return count


def operations(name: str, params: Sequence[float] = ()) -> int:
    """How many operations the function's chain has. Raises KeyError for an unknown one."""
    counter = _Counter()
    FUNCTIONS[name].chain(counter, "", *params)
    return counter.operations


def evaluate(name: str, x: Float, params: Sequence[float] = ()) -> Float:
    """The function's values in numpy, of the shape of ``x``. Raises KeyError for an unknown one."""
    with np.errstate(all="ignore"):
        value: Float = FUNCTIONS[name].chain(Numpy(), np.asarray(x, np.float32), *params)
    return value
