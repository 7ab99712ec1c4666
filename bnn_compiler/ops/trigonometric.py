"""Functions of angles, their inverses, and the hyperbolic ones: chains of functions.py.

sin, cos and tan are of angles up to 2**22; of larger ones, which would need many more digits of
pi, they are NaN.
"""

import math
from typing import Any

from bnn_compiler.ops.arithmetic import Arithmetic, negated, polynomial, product
from bnn_compiler.ops.exponential import half_exp

#: 1.5 * 2**23: a sum with it is rounded to an integer, which its low bits are.
_MAGIC, _MAGIC_BITS = 12582912.0, 0x4B400000
#: pi / 2 in three parts, each the nearest float32 of what those before leave.
_HALF_PI = (1.5707963705062866, -4.371139000186241e-08, -1.7151245100059016e-15)
_LARGEST_ANGLE = 2.0**22


def _reduced(m: Arithmetic, x: Any) -> tuple[Any, Any, Any]:
    """(n, r, q): x is n * pi / 2 + r + q, n as bits; q is smaller than r."""
    t = m.fma(x, 2 / math.pi, _MAGIC)
    n = m.sub(t, _MAGIC)
    minus = negated(m, n)
    once = m.fma(minus, _HALF_PI[0], x)
    # A product and a sum with what they lose.
    part = product(m, minus, _HALF_PI[1])
    lost = m.fma(minus, _HALF_PI[1], negated(m, part))
    r = m.add(once, part)
    kept = m.sub(r, once)
    lost = m.add(lost, m.add(m.sub(once, m.sub(r, kept)), m.sub(part, kept)))
    low = m.fma(minus, _HALF_PI[2], lost)
    whole = m.add(r, low)
    return m.minus(m.bits(t), _MAGIC_BITS), whole, m.add(m.sub(r, whole), low)


def _sin_cos(m: Arithmetic, r: Any, q: Any) -> tuple[Any, Any]:
    """What r and 1 lack to be sine and cosine of r + q, about pi / 4 at most."""
    s = product(m, r, r)
    p = polynomial(m, s, -0.16666667, 0.008333328, -0.00019838920, 2.7145081e-06)
    sine = m.fma(product(m, r, s), p, q)
    p = polynomial(m, s, -0.5, 0.04166664, -0.0013887042, 2.4401563e-05)
    return sine, m.fma(s, p, product(m, negated(m, r), q))


def _sum(m: Arithmetic, first: Any, rest: Any) -> tuple[Any, Any]:
    """The sum with a smaller number, and what rounding it loses."""
    whole = m.add(first, rest)
    return whole, m.sub(rest, m.sub(whole, first))


def _bit(m: Arithmetic, n: Any, place: int) -> Any:
    """Whether ``n`` has this bit."""
    return m.less(m.to_float(m.left(n, 31 - place)), 0.0)


def _known(m: Arithmetic, x: Any, value: Any) -> Any:
    return m.where(m.less(m.absolute(x), _LARGEST_ANGLE), value, math.nan)


def _turned(m: Arithmetic, x: Any, quarters: int) -> Any:
    """sin(x + quarters * pi / 2)."""
    n, r, q = _reduced(m, x)
    n = m.plus(n, quarters)
    sine, cosine = _sin_cos(m, r, q)
    value = m.where(_bit(m, n, 0), m.add(1.0, cosine), m.add(r, sine))
    return _known(m, x, m.where(_bit(m, n, 1), negated(m, value), value))


def sin(m: Arithmetic, x: Any) -> Any:
    """The sine."""
    return _turned(m, x, 0)


def cos(m: Arithmetic, x: Any) -> Any:
    """The cosine."""
    return _turned(m, x, 1)


def tan(m: Arithmetic, x: Any) -> Any:
    """The tangent."""
    n, r, q = _reduced(m, x)
    odd, rests = _bit(m, n, 0), _sin_cos(m, r, q)
    (sine, sine_lost), (cosine, cosine_lost) = _sum(m, r, rests[0]), _sum(m, 1.0, rests[1])
    above = m.where(odd, negated(m, cosine), sine)
    above_lost = m.where(odd, negated(m, cosine_lost), sine_lost)
    below, below_lost = m.where(odd, sine, cosine), m.where(odd, sine_lost, cosine_lost)
    quotient = m.div(above, below)
    # What it and the two sums lost.
    minus = negated(m, quotient)
    rest = m.fma(minus, below_lost, m.add(m.fma(minus, below, above), above_lost))
    return _known(m, x, m.add(quotient, m.div(rest, below)))


# ---- their inverses


def atan(m: Arithmetic, x: Any) -> Any:
    """The inverse of the tangent."""
    size = m.absolute(x)
    large = m.less(1.0, size)
    r = m.where(large, m.div(1.0, size), size)
    s = product(m, r, r)
    p = polynomial(
        m,
        s,
        *(-0.333333015, 0.199986383, -0.142652452, 0.109575719, -0.0841944590, 0.0582343191),
        *(-0.0314554684, 0.0110643152, -0.00182718469),
    )
    rest = product(m, product(m, r, s), p)
    # The turned one from both parts, whose sum would be rounded once more.
    turned = m.sub(_HALF_PI[0], m.sub(r, m.sub(_HALF_PI[1], rest)))
    return _signed(m, x, m.where(large, turned, m.add(r, rest)))


def _signed(m: Arithmetic, x: Any, size: Any) -> Any:
    return m.where(m.less(x, 0.0), negated(m, size), size)


def _arc(m: Arithmetic, x: Any) -> tuple[Any, Any, Any]:
    """(large, r, rest): asin(|x|) is r + rest up to 1/2, above it pi / 2 - 2 (r + rest)."""
    size = m.absolute(x)
    large = m.less(0.5, size)
    half = m.fma(size, -0.5, 0.5)
    r = m.where(large, m.sqrt(half), size)
    s = m.where(large, half, product(m, size, size))
    p = polynomial(m, s, 0.16666755, 0.07495196, 0.045483336, 0.02411449, 0.04227851)
    return large, r, product(m, product(m, r, s), p)


def asin(m: Arithmetic, x: Any) -> Any:
    """The inverse of the sine."""
    large, r, rest = _arc(m, x)
    twice = m.fma(rest, 2.0, -_HALF_PI[1])
    turned = m.sub(_HALF_PI[0], m.fma(r, 2.0, twice))
    return _signed(m, x, m.where(large, turned, m.add(r, rest)))


def acos(m: Arithmetic, x: Any) -> Any:
    """The inverse of the cosine."""
    large, r, rest = _arc(m, x)
    below = m.less(x, 0.0)
    near = product(m, m.add(r, rest), 2.0)
    # pi - 2 (r + rest), and pi / 2 - or + (r + rest).
    far = m.sub(2 * _HALF_PI[0], m.fma(r, 2.0, m.fma(rest, 2.0, -2 * _HALF_PI[1])))
    r, rest = (m.where(below, negated(m, v), v) for v in (r, rest))
    middle = m.sub(_HALF_PI[0], m.add(r, m.sub(rest, _HALF_PI[1])))
    return m.where(large, m.where(below, far, near), middle)


# ---- hyperbolic


def sinh(m: Arithmetic, x: Any) -> Any:
    """The hyperbolic sine."""
    size, s = m.absolute(x), product(m, x, x)
    p = polynomial(m, s, 0.16666667, 0.0083333505, 0.00019836066, 2.8174397e-06)
    small = m.fma(product(m, x, s), p, x)
    half = half_exp(m, size)
    large = _signed(m, x, m.sub(half, m.div(0.25, half)))
    return m.where(m.less(size, 1.0), small, large)


def cosh(m: Arithmetic, x: Any) -> Any:
    """The hyperbolic cosine."""
    half = half_exp(m, m.absolute(x))
    return m.add(half, m.div(0.25, half))
