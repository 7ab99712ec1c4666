"""exp, logarithms and what is made of them: chains of functions.py."""

import math
from typing import Any

from bnn_compiler.ops.arithmetic import Arithmetic, clamped, negated, polynomial, product

_INFINITY = math.inf
#: 1.5 * 2**23: a sum with it is rounded to an integer, which its low bits are.
_MAGIC, _MAGIC_BITS = 12582912.0, 0x4B400000
_LOG2_E = 1.4426950408889634
#: ln 2 as a number of few bits, whose product with an exponent is exact, and the rest.
_LN2_HIGH, _LN2_LOW = 0.693359375, -2.12194440e-4
#: ln 2, its logarithms, and what float32 loses of them.
_LN2, _LN2_LOST = 0.6931471824645996, -1.904654323148236e-09
_LOG10_2, _LOG10_2_LOST = 0.3010300099849701, -1.4320989e-08
_TINY = 2.0**-126
_ERFC = (
    *(0.27697837, -0.09276382, -0.16603051, 0.16405088, -0.05421812, -0.008029568, 0.00871156),
    *(0.0012494468, -0.0014285597, -0.00039995636, 0.00017747981, 0.00008324955),
)


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
    q = m.fma(product(m, r, r), _tail(m, r), lost)
    return m.minus(m.bits(t), _MAGIC_BITS), r, q


def _tail(m: Arithmetic, r: Any) -> Any:
    """(exp(r) - 1 - r) / r**2."""
    return polynomial(m, r, 0.5, 0.16666518, 0.041666206, 0.00836889, 0.0013950489)


def _power_of_two(m: Arithmetic, n: Any) -> Any:
    return m.from_bits(m.left(m.plus(n, 127), 23))


def exp(m: Arithmetic, x: Any, low: Any = None) -> Any:
    """exp(x + low), of a ``low`` that is small."""
    return _raised(m, *_reduced(m, clamped(m, x, -104.0, 89.0), low))


def half_exp(m: Arithmetic, x: Any) -> Any:
    """exp(x) / 2, which is finite where a hyperbolic function is."""
    n, r, q = _reduced(m, clamped(m, x, -104.0, 90.0))
    return _raised(m, m.minus(n, 1), r, q)


def exp2(m: Arithmetic, x: Any) -> Any:
    """2**x; of an integer, exactly that power."""
    x = clamped(m, x, -151.0, 129.0)
    t = m.add(x, _MAGIC)
    rest = m.sub(x, m.sub(t, _MAGIC))
    r = product(m, rest, _LN2)
    lost = m.fma(rest, _LN2_LOST, m.fma(rest, _LN2, negated(m, r)))
    return _raised(
        m, m.minus(m.bits(t), _MAGIC_BITS), r, m.fma(product(m, r, r), _tail(m, r), lost)
    )


def _raised(m: Arithmetic, n: Any, r: Any, q: Any) -> Any:
    """2**n * (1 + r + q)."""
    whole = m.add(r, 1.0)
    p = m.add(whole, m.add(q, m.sub(r, m.sub(whole, 1.0))))
    # In two steps: the first is exact, and the other rounds a denormal result once.
    half = m.right(n, 1)
    once = product(m, p, _power_of_two(m, half))
    return product(m, once, _power_of_two(m, m.minus(n, half)))


def expm1(m: Arithmetic, x: Any) -> Any:
    """exp(x) - 1."""
    n, r, q = _reduced(m, clamped(m, x, -30.0, 89.0))
    # Of half the power: 2**128 is no float.
    scale = _power_of_two(m, m.minus(n, 1))
    small = m.less(m.absolute(x), 2.0**-25)
    value = m.fma(scale, m.add(r, q), m.sub(scale, 0.5))
    return m.where(small, x, product(m, value, 2.0))


def sigmoid(m: Arithmetic, x: Any) -> Any:
    """1 / (1 + exp(-x))."""
    # Of -|x|, so that nothing overflows and a small result keeps its digits.
    below = m.less(x, 0.0)
    e = exp(m, negated(m, m.absolute(x)))
    total = m.add(e, 1.0)
    lost = m.sub(e, m.sub(total, 1.0))
    top = m.where(below, e, 1.0)
    q = m.div(top, total)
    # What the quotient and the sum lost, over about the sum.
    minus = negated(m, q)
    rest = m.fma(minus, lost, m.fma(minus, total, top))
    return m.fma(rest, m.where(below, m.sub(1.0, q), q), q)


def tanh(m: Arithmetic, x: Any) -> Any:
    """The hyperbolic tangent."""
    size = m.absolute(x)
    s = product(m, x, x)
    p = polynomial(m, s, -0.3333328, 0.13331442, -0.05373971, 0.02063908, -0.0057049785)
    small = m.fma(product(m, x, s), p, x)
    e = exp(m, m.add(size, size))
    large = m.sub(1.0, m.div(2.0, m.add(e, 1.0)))
    signed = m.where(m.less(x, 0.0), negated(m, large), large)
    return m.where(m.less(size, 0.625), small, signed)


def erf(m: Arithmetic, x: Any) -> Any:
    """The error function."""
    t, s = m.absolute(x), product(m, x, x)
    small = m.fma(
        polynomial(
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
    r = polynomial(m, t, -0.128717512, -0.634846687, -0.106777877, m.fma(r, s, u))
    large = m.sub(1.0, exp(m, m.fma(r, t, negated(m, t))))
    # Far out the polynomial's terms are infinite, of both signs.
    large = m.where(m.less(t, 4.0), large, m.where(m.equal(x, x), 1.0, x))
    signed = m.where(m.less(x, 0.0), negated(m, large), large)
    return m.where(m.less(0.927734375, t), signed, small)


def erfc(m: Arithmetic, x: Any) -> Any:
    """1 - erf(x), which keeps its digits where it is small."""
    a = m.absolute(x)
    a = m.where(m.less(14.0, a), 14.0, a)
    # (1 + 2 a) exp(a**2) erfc(a) is 1 + p(q), where q is (a - 2) / (a + 2).
    inverse = m.div(1.0, m.add(a, 2.0))
    q = m.fma(-4.0, inverse, 1.0)
    lost = m.fma(negated(m, a), q, m.fma(m.add(q, 1.0), -2.0, a))
    q = m.fma(inverse, lost, q)
    p = polynomial(m, q, *_ERFC)
    # The quotient of two sums, and what they and it lose.
    high, d = m.add(p, 1.0), m.fma(a, 2.0, 1.0)
    lost = m.sub(p, m.sub(high, 1.0))
    whole = m.div(high, d)
    minus = negated(m, whole)
    lost = m.fma(minus, m.fma(a, 2.0, m.sub(1.0, d)), m.add(m.fma(minus, d, high), lost))
    s = product(m, a, a)
    e = exp(m, negated(m, s), m.fma(negated(m, a), a, s))
    small = m.fma(whole, e, product(m, m.div(lost, d), e))
    value = m.where(m.less(x, 0.0), m.sub(2.0, small), small)
    return m.where(m.equal(x, x), value, x)


# ---- logarithms


def _log_parts(m: Arithmetic, x: Any) -> tuple[Any, Any, Any]:
    """(e, f, p): log(x) is e * ln(2) + f - f**2 / 2 + f**3 * p, for a positive finite x."""
    denormal = m.less(x, _TINY)
    i = m.bits(m.where(denormal, product(m, x, 2.0**23), x))
    # The mantissa lies between sqrt(1/2) and sqrt(2).
    k = m.right(m.minus(i, 0x3F3504F3), 23)
    f = m.sub(m.from_bits(m.minus(i, m.left(k, 23))), 1.0)
    e = m.sub(m.to_float(k), m.where(denormal, 23.0, 0.0))
    p = polynomial(
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


def log2(m: Arithmetic, x: Any) -> Any:
    """The logarithm to base 2; of a power of 2, exactly its exponent."""
    e, y = _log_mantissa(m, x)
    return _log_special(m, x, m.fma(y, _LOG2_E, e))


def log10(m: Arithmetic, x: Any) -> Any:
    """The logarithm to base 10."""
    e, y = _log_mantissa(m, x)
    y = m.fma(y, 1 / math.log(10.0), product(m, e, _LOG10_2_LOST))
    return _log_special(m, x, m.fma(e, _LOG10_2, y))


def _log_mantissa(m: Arithmetic, x: Any) -> tuple[Any, Any]:
    """(e, y): log(x) is e * ln(2) + y, for a positive finite x."""
    e, f, p = _log_parts(m, x)
    s = product(m, f, f)
    return e, m.add(f, m.fma(s, -0.5, product(m, product(m, f, s), p)))


def _log_special(m: Arithmetic, x: Any, y: Any) -> Any:
    """``y``, the logarithm of a positive finite ``x``, or what it is of other numbers."""
    y = m.where(m.less(x, _INFINITY), y, x)
    y = m.where(m.less(x, 0.0), math.nan, y)
    return m.where(m.equal(x, 0.0), -_INFINITY, y)


def log(m: Arithmetic, x: Any) -> Any:
    """The natural logarithm."""
    e, f, p = _log_parts(m, x)
    s = product(m, f, f)
    y = product(m, product(m, f, s), p)
    y = m.fma(s, -0.5, m.fma(e, _LN2_LOW, y))
    return _log_special(m, x, m.fma(e, _LN2_HIGH, m.add(f, y)))


def log1p(m: Arithmetic, x: Any) -> Any:
    """log(1 + x)."""
    w = m.add(x, 1.0)
    lost = m.sub(x, m.sub(w, 1.0))
    y = log(m, w)
    # Nothing is lost where w is 0; where it is infinite, the difference is NaN.
    return m.where(m.less(0.0, m.absolute(lost)), m.add(y, m.div(lost, w)), y)


def power(m: Arithmetic, x: Any, exponent: float) -> Any:
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
    square = product(m, half, half)
    return product(m, square, x) if exponent % 2 else square


def _real_power(m: Arithmetic, x: Any, exponent: float) -> Any:
    size = m.absolute(x)
    e, f, p = _log_parts(m, size)
    # The logarithm as a sum of two floats: an exponential multiplies its error.
    s = product(m, f, f)
    rest = m.fma(f, f, negated(m, s))
    first = m.fma(s, -0.5, f)
    low = m.fma(s, -0.5, m.sub(f, first))
    high = m.fma(e, _LN2_HIGH, first)
    low = m.add(low, m.sub(first, m.fma(e, -_LN2_HIGH, high)))
    low = m.add(low, m.fma(rest, -0.5, m.fma(e, _LN2_LOW, product(m, product(m, f, s), p))))
    total = m.add(high, low)
    high, low = total, m.sub(low, m.sub(total, high))
    y = product(m, high, exponent)
    lost = m.fma(low, exponent, m.fma(high, exponent, negated(m, y)))
    result = exp(m, y, m.where(m.less(m.absolute(y), 128.0), lost, 0.0))
    zero, infinite = (0.0, _INFINITY) if exponent > 0 else (_INFINITY, 0.0)
    result = m.where(m.equal(size, 0.0), zero, result)
    result = m.where(m.equal(size, _INFINITY), infinite, result)
    if exponent == int(exponent):
        below = negated(m, result) if int(exponent) % 2 else result
    else:
        below = m.where(m.equal(size, _INFINITY), infinite, math.nan)
    return m.where(m.equal(x, x), m.where(m.less(x, 0.0), below, result), x)
