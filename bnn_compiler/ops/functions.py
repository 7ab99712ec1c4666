"""Functions of one float32 value, each a chain of exactly defined operations.

exp, expm1, log, tanh, erf and what is made of them are polynomials of fma, so that numpy and every
target compute the same bits: nothing calls a libm. The first six are within 2 ulp of the correctly
rounded value, denormal results included. Parameters are literals:

    evaluate("elu", x, (1.0, 1.0, 1.0))

A product is an fma with 0, because LLVM would contract another one with the sum that follows it.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bnn_compiler.ops.arithmetic import Arithmetic, Numpy
from bnn_compiler.ops.reference import Float

_INFINITY = math.inf
#: 1.5 * 2**23: a sum with it is rounded to an integer, which its low bits are.
_MAGIC, _MAGIC_BITS = 12582912.0, 0x4B400000
_LOG2_E = 1.4426950408889634
#: ln 2 as a number of few bits, whose product with an exponent is exact, and the rest.
_LN2_HIGH, _LN2_LOW = 0.693359375, -2.12194440e-4
_TINY = 2.0**-126


@dataclass(frozen=True)
class Function:
    """``chain`` (arithmetic, value, *params) is the value; ``params`` how many literals it has.

    ``falls`` says of a monotone function whether it falls; None if it is not monotone, or only
    but for rounding.
    """

    chain: Callable[..., Any]
    params: int = 0
    falls: bool | None = None


def _product(m: Arithmetic, a: Any, b: Any) -> Any:
    return m.fma(a, b, 0.0)


def _polynomial(m: Arithmetic, x: Any, *coefficients: float) -> Any:
    """From the constant term on."""
    total: Any = coefficients[-1]
    for c in reversed(coefficients[:-1]):
        total = m.fma(total, x, c)
    return total


def _clamped(m: Arithmetic, x: Any, low: float, high: float) -> Any:
    """A NaN stays one."""
    x = m.where(m.less(x, low), low, x)
    return m.where(m.less(high, x), high, x)


def _negated(m: Arithmetic, x: Any) -> Any:
    return m.sub(-0.0, x)


# ---- exponentials


def _reduced(m: Arithmetic, x: Any, low: Any = None) -> tuple[Any, Any, Any]:
    """(n, r, q): exp(x + low) is 2**n * (1 + r + q), n as bits; q is smaller than r."""
    t = m.fma(x, _LOG2_E, _MAGIC)
    n = m.sub(t, _MAGIC)
    once = m.fma(n, -_LN2_HIGH, x)
    r = m.fma(n, -_LN2_LOW, once)
    lost = m.fma(n, -_LN2_LOW, m.sub(once, r))
    if low is not None:
        whole = m.add(r, low)
        lost = m.add(lost, m.add(m.sub(r, whole), low))
        r = whole
    p = _polynomial(m, r, 0.5, 0.16666518, 0.041666206, 0.00836889, 0.0013950489)
    return m.minus(m.bits(t), _MAGIC_BITS), r, m.fma(_product(m, r, r), p, lost)


def _power_of_two(m: Arithmetic, n: Any) -> Any:
    return m.from_bits(m.left(m.plus(n, 127), 23))


def _exp(m: Arithmetic, x: Any, low: Any = None) -> Any:
    """exp(x + low), of a ``low`` that is small."""
    n, r, q = _reduced(m, _clamped(m, x, -104.0, 89.0), low)
    whole = m.add(r, 1.0)
    p = m.add(whole, m.add(q, m.sub(r, m.sub(whole, 1.0))))
    # In two steps: the first is exact, and the other rounds a denormal result once.
    half = m.right(n, 1)
    once = _product(m, p, _power_of_two(m, half))
    return _product(m, once, _power_of_two(m, m.minus(n, half)))


def _expm1(m: Arithmetic, x: Any) -> Any:
    n, r, q = _reduced(m, _clamped(m, x, -30.0, 89.0))
    # Of half the power: 2**128 is no float.
    scale = _power_of_two(m, m.minus(n, 1))
    small = m.less(m.absolute(x), 2.0**-25)
    value = m.fma(scale, m.add(r, q), m.sub(scale, 0.5))
    return m.where(small, x, _product(m, value, 2.0))


def _sigmoid(m: Arithmetic, x: Any) -> Any:
    # Of -|x|, so that nothing overflows and a small result keeps its digits.
    below = m.less(x, 0.0)
    e = _exp(m, _negated(m, m.absolute(x)))
    total = m.add(e, 1.0)
    lost = m.sub(e, m.sub(total, 1.0))
    top = m.where(below, e, 1.0)
    q = m.div(top, total)
    # What the quotient and the sum lost, over about the sum.
    minus = _negated(m, q)
    rest = m.fma(minus, lost, m.fma(minus, total, top))
    return m.fma(rest, m.where(below, m.sub(1.0, q), q), q)


def _tanh(m: Arithmetic, x: Any) -> Any:
    size = m.absolute(x)
    s = _product(m, x, x)
    p = _polynomial(m, s, -0.3333328, 0.13331442, -0.05373971, 0.02063908, -0.0057049785)
    small = m.fma(_product(m, x, s), p, x)
    e = _exp(m, m.add(size, size))
    large = m.sub(1.0, m.div(2.0, m.add(e, 1.0)))
    signed = m.where(m.less(x, 0.0), _negated(m, large), large)
    return m.where(m.less(size, 0.625), small, signed)


def _erf(m: Arithmetic, x: Any) -> Any:
    t, s = m.absolute(x), _product(m, x, x)
    small = m.fma(
        _polynomial(
            m,
            s,
            0.128379166,
            -0.376125336,
            0.112819925,
            -0.0267681349,
            0.00499119423,
            -5.96761703e-4,
        ),
        x,
        x,
    )
    r = m.fma(-1.72853470e-5, t, 3.83197126e-4)
    u = m.fma(-3.88396438e-3, t, 2.42546219e-2)
    r = _polynomial(m, t, -0.128717512, -0.634846687, -0.106777877, m.fma(r, s, u))
    large = m.sub(1.0, _exp(m, m.fma(r, t, _negated(m, t))))
    # Far out the polynomial's terms are infinite, of both signs.
    large = m.where(m.less(t, 4.0), large, m.where(m.equal(x, x), 1.0, x))
    signed = m.where(m.less(x, 0.0), _negated(m, large), large)
    return m.where(m.less(0.927734375, t), signed, small)


# ---- logarithms


def _log_parts(m: Arithmetic, x: Any) -> tuple[Any, Any, Any]:
    """(e, f, p): log(x) is e * ln(2) + f - f**2 / 2 + f**3 * p, for a positive finite x."""
    denormal = m.less(x, _TINY)
    i = m.bits(m.where(denormal, _product(m, x, 2.0**23), x))
    # The mantissa lies between sqrt(1/2) and sqrt(2).
    k = m.right(m.minus(i, 0x3F3504F3), 23)
    f = m.sub(m.from_bits(m.minus(i, m.left(k, 23))), 1.0)
    e = m.sub(m.to_float(k), m.where(denormal, 23.0, 0.0))
    p = _polynomial(
        m,
        f,
        0.33333313,
        -0.2500001,
        0.20002119,
        -0.16667996,
        0.1421955,
        -0.12405589,
        0.1188818,
        -0.1167566,
        0.067466125,
    )
    return e, f, p


def _log_special(m: Arithmetic, x: Any, y: Any) -> Any:
    """``y``, the logarithm of a positive finite ``x``, or what it is of other numbers."""
    y = m.where(m.less(x, _INFINITY), y, x)
    y = m.where(m.less(x, 0.0), math.nan, y)
    return m.where(m.equal(x, 0.0), -_INFINITY, y)


def _log(m: Arithmetic, x: Any) -> Any:
    e, f, p = _log_parts(m, x)
    s = _product(m, f, f)
    y = _product(m, _product(m, f, s), p)
    y = m.fma(s, -0.5, m.fma(e, _LN2_LOW, y))
    return _log_special(m, x, m.fma(e, _LN2_HIGH, m.add(f, y)))


def _log1p(m: Arithmetic, x: Any) -> Any:
    w = m.add(x, 1.0)
    lost = m.sub(x, m.sub(w, 1.0))
    y = _log(m, w)
    # Nothing is lost where w is 0; where it is infinite, the difference is NaN.
    return m.where(m.less(0.0, m.absolute(lost)), m.add(y, m.div(lost, w)), y)


def _power(m: Arithmetic, x: Any, exponent: float) -> Any:
    """x ** exponent: by products for small integers, by roots for +-0.5, else by logarithms."""
    if exponent == 0:
        return m.where(m.equal(x, x), 1.0, 1.0)
    if abs(exponent) == 0.5:
        root = m.sqrt(x)
        return root if exponent > 0 else m.div(1.0, root)
    if exponent == int(exponent) and abs(exponent) <= 8:
        return _integer_power(m, x if exponent > 0 else m.div(1.0, x), int(abs(exponent)))
    return _real_power(m, x, exponent)


def _integer_power(m: Arithmetic, x: Any, exponent: int) -> Any:
    if exponent == 1:
        return x
    half = _integer_power(m, x, exponent // 2)
    square = _product(m, half, half)
    return _product(m, square, x) if exponent % 2 else square


def _real_power(m: Arithmetic, x: Any, exponent: float) -> Any:
    size = m.absolute(x)
    e, f, p = _log_parts(m, size)
    # The logarithm as a sum of two floats: an exponential multiplies its error.
    s = _product(m, f, f)
    rest = m.fma(f, f, _negated(m, s))
    first = m.fma(s, -0.5, f)
    low = m.fma(s, -0.5, m.sub(f, first))
    high = m.fma(e, _LN2_HIGH, first)
    low = m.add(low, m.sub(first, m.fma(e, -_LN2_HIGH, high)))
    low = m.add(low, m.fma(rest, -0.5, m.fma(e, _LN2_LOW, _product(m, _product(m, f, s), p))))
    total = m.add(high, low)
    high, low = total, m.sub(low, m.sub(total, high))
    y = _product(m, high, exponent)
    lost = m.fma(low, exponent, m.fma(high, exponent, _negated(m, y)))
    result = _exp(m, y, m.where(m.less(m.absolute(y), 128.0), lost, 0.0))
    zero, infinite = (0.0, _INFINITY) if exponent > 0 else (_INFINITY, 0.0)
    result = m.where(m.equal(size, 0.0), zero, result)
    result = m.where(m.equal(size, _INFINITY), infinite, result)
    if exponent == int(exponent):
        below = _negated(m, result) if int(exponent) % 2 else result
    else:
        below = m.where(m.equal(size, _INFINITY), infinite, math.nan)
    return m.where(m.equal(x, x), m.where(m.less(x, 0.0), below, result), x)


# ---- activations


def _gelu(m: Arithmetic, x: Any) -> Any:
    e = _erf(m, _product(m, x, math.sqrt(0.5)))
    return _product(m, _product(m, x, 0.5), m.add(e, 1.0))


def _gelu_tanh(m: Arithmetic, x: Any) -> Any:
    cube = _product(m, _product(m, x, x), x)
    t = _tanh(m, _product(m, m.fma(cube, 0.044715, x), math.sqrt(2 / math.pi)))
    return _product(m, _product(m, x, 0.5), m.add(t, 1.0))


def _mish(m: Arithmetic, x: Any) -> Any:
    # tanh(log(1 + e)) is (e**2 + 2 e) / (e**2 + 2 e + 2).
    e = _exp(m, m.where(m.less(30.0, x), 30.0, x))
    n = _product(m, e, m.add(e, 2.0))
    return _product(m, x, m.div(n, m.add(n, 2.0)))


def _softplus(m: Arithmetic, x: Any, beta: float, threshold: float) -> Any:
    y = _product(m, x, beta)
    part = _log1p(m, _exp(m, _negated(m, m.absolute(y))))
    total = m.add(m.where(m.less(y, 0.0), 0.0, y), part)
    total = total if beta == 1 else m.div(total, beta)
    return m.where(m.less(threshold, y), x, total)


def _log_sigmoid(m: Arithmetic, x: Any) -> Any:
    part = _log1p(m, _exp(m, _negated(m, m.absolute(x))))
    return m.sub(m.where(m.less(x, 0.0), x, 0.0), part)


def _elu(m: Arithmetic, x: Any, below: float, above: float, inside: float) -> Any:
    negative = _product(m, _expm1(m, _product(m, x, inside)), below)
    return m.where(m.less(0.0, x), _product(m, x, above), negative)


def _hard_gate(m: Arithmetic, x: Any) -> Any:
    return _clamped(m, m.add(x, 3.0), 0.0, 6.0)


def _threshold(m: Arithmetic, x: Any, threshold: float, value: float) -> Any:
    return m.where(m.less(threshold, x), x, m.where(m.equal(x, x), value, x))


def _softshrink(m: Arithmetic, x: Any, width: float) -> Any:
    inner = _product(m, x, 0.0)
    inner = m.where(m.less(x, -width), m.add(x, width), inner)
    return m.where(m.less(width, x), m.sub(x, width), inner)


def _hardshrink(m: Arithmetic, x: Any, width: float) -> Any:
    return m.where(m.less(width, m.absolute(x)), x, m.where(m.equal(x, x), 0.0, x))


def _trunc(m: Arithmetic, x: Any) -> Any:
    return m.where(m.less(x, 0.0), m.ceil(x), m.floor(x))


#: Every function; the first six are primitive.
FUNCTIONS: dict[str, Function] = {
    "exp": Function(_exp),
    "expm1": Function(_expm1),
    "log": Function(_log),
    "tanh": Function(_tanh),
    "sigmoid": Function(_sigmoid),
    "erf": Function(_erf),
    "log1p": Function(_log1p),
    "sqrt": Function(lambda m, x: m.sqrt(x), falls=False),
    "rsqrt": Function(lambda m, x: m.div(1.0, m.sqrt(x)), falls=None),
    "reciprocal": Function(lambda m, x: m.div(1.0, x)),
    "square": Function(lambda m, x: _product(m, x, x)),
    "power": Function(_power, params=1),
    "abs": Function(lambda m, x: m.absolute(x)),
    "negative": Function(_negated, falls=True),
    "round": Function(lambda m, x: m.rounded(x), falls=False),
    "floor": Function(lambda m, x: m.floor(x), falls=False),
    "ceil": Function(lambda m, x: m.ceil(x), falls=False),
    "trunc": Function(_trunc, falls=False),
    "silu": Function(lambda m, x: _product(m, x, _sigmoid(m, x))),
    "gelu": Function(_gelu),
    "gelu_tanh": Function(_gelu_tanh),
    "mish": Function(_mish),
    "softplus": Function(_softplus, params=2),
    "log_sigmoid": Function(_log_sigmoid),
    "elu": Function(_elu, params=3),
    "softsign": Function(lambda m, x: m.div(x, m.add(m.absolute(x), 1.0))),
    "hard_sigmoid": Function(lambda m, x: m.div(_hard_gate(m, x), 6.0), falls=False),
    "hard_swish": Function(lambda m, x: m.div(_product(m, x, _hard_gate(m, x)), 6.0)),
    "threshold": Function(_threshold, params=2),
    "softshrink": Function(_softshrink, params=1, falls=False),
    "hardshrink": Function(_hardshrink, params=1, falls=False),
    "tanhshrink": Function(lambda m, x: m.sub(x, _tanh(m, x))),
}


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
