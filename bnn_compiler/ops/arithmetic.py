"""The operations that functions of one value are made of: each exactly defined, on every target.

A chain of them is written once (functions.py). Here it computes numpy arrays; as TIR
(kernels/functions.py) it makes expressions that round as these do.
"""

from typing import Any, Protocol

import numpy as np

from bnn_compiler.ops.reference import fma


class Arithmetic(Protocol):
    """What a chain is computed in. Operands are float32 values, or numbers.

    Comparisons are of IEEE 754: of a NaN, all are false. Bits are int32 of the same shape.
    """

    def fma(self, a: Any, b: Any, c: Any) -> Any:
        """a * b + c with one rounding."""

    def add(self, a: Any, b: Any) -> Any:
        """a + b."""

    def sub(self, a: Any, b: Any) -> Any:
        """a - b."""

    def div(self, a: Any, b: Any) -> Any:
        """a / b, correctly rounded."""

    def sqrt(self, a: Any) -> Any:
        """The square root, correctly rounded."""

    def absolute(self, a: Any) -> Any:
        """|a|."""

    def rounded(self, a: Any) -> Any:
        """The nearest integer, of two the even one."""

    def floor(self, a: Any) -> Any:
        """The largest integer that is not above."""

    def ceil(self, a: Any) -> Any:
        """The smallest integer that is not below."""

    def where(self, condition: Any, a: Any, b: Any) -> Any:
        """a where the condition holds, else b."""

    def less(self, a: Any, b: Any) -> Any:
        """a < b."""

    def equal(self, a: Any, b: Any) -> Any:
        """a == b."""

    def bits(self, a: Any) -> Any:
        """The float's bits."""

    def from_bits(self, a: Any) -> Any:
        """The float of these bits."""

    def to_float(self, a: Any) -> Any:
        """The float that equals a small integer."""

    def plus(self, a: Any, b: Any) -> Any:
        """a + b of bits."""

    def minus(self, a: Any, b: Any) -> Any:
        """a - b of bits."""

    def left(self, a: Any, count: int) -> Any:
        """Bits shifted up."""

    def right(self, a: Any, count: int) -> Any:
        """Bits shifted down, the sign kept."""


class Numpy:
    """An Arithmetic of numpy arrays."""

    def fma(self, a: Any, b: Any, c: Any) -> Any:
        """See Arithmetic."""
        return fma(*(np.asarray(v, np.float32) for v in (a, b, c)))

    def add(self, a: Any, b: Any) -> Any:
        """See Arithmetic."""
        return np.float32(a) + np.float32(b)

    def sub(self, a: Any, b: Any) -> Any:
        """See Arithmetic."""
        return np.float32(a) - np.float32(b)

    def div(self, a: Any, b: Any) -> Any:
        """See Arithmetic."""
        return np.float32(a) / np.float32(b)

    def sqrt(self, a: Any) -> Any:
        """See Arithmetic."""
        return np.sqrt(a)

    def absolute(self, a: Any) -> Any:
        """See Arithmetic."""
        return np.abs(a)

    def rounded(self, a: Any) -> Any:
        """See Arithmetic."""
        return np.rint(a)

    def floor(self, a: Any) -> Any:
        """See Arithmetic."""
        return np.floor(a)

    def ceil(self, a: Any) -> Any:
        """See Arithmetic."""
        return np.ceil(a)

    def where(self, condition: Any, a: Any, b: Any) -> Any:
        """See Arithmetic."""
        return np.where(condition, np.float32(a), np.float32(b))

    def less(self, a: Any, b: Any) -> Any:
        """See Arithmetic."""
        return np.less(a, np.float32(b))

    def equal(self, a: Any, b: Any) -> Any:
        """See Arithmetic."""
        return np.equal(a, np.float32(b))

    def bits(self, a: Any) -> Any:
        """See Arithmetic."""
        return np.asarray(a, np.float32).view(np.int32)

    def from_bits(self, a: Any) -> Any:
        """See Arithmetic."""
        return np.asarray(a, np.int32).view(np.float32)

    def to_float(self, a: Any) -> Any:
        """See Arithmetic."""
        return np.asarray(a).astype(np.float32)

    def plus(self, a: Any, b: Any) -> Any:
        """See Arithmetic."""
        return np.add(a, np.int32(b))

    def minus(self, a: Any, b: Any) -> Any:
        """See Arithmetic."""
        return np.subtract(a, np.int32(b))

    def left(self, a: Any, count: int) -> Any:
        """See Arithmetic."""
        return np.left_shift(a, np.int32(count))

    def right(self, a: Any, count: int) -> Any:
        """See Arithmetic."""
        return np.right_shift(a, np.int32(count))


def product(m: Arithmetic, a: Any, b: Any) -> Any:
    """a * b, which LLVM cannot contract with a sum that follows."""
    return m.fma(a, b, 0.0)


def polynomial(m: Arithmetic, x: Any, *coefficients: float) -> Any:
    """Of ``coefficients`` from the constant term on."""
    total: Any = coefficients[-1]
    for c in reversed(coefficients[:-1]):
        total = m.fma(total, x, c)
    return total


def clamped(m: Arithmetic, x: Any, low: float, high: float) -> Any:
    """min(max(x, low), high); a NaN stays one."""
    x = m.where(m.less(x, low), low, x)
    return m.where(m.less(high, x), high, x)


def negated(m: Arithmetic, x: Any) -> Any:
    """-x, of a zero too."""
    return m.sub(-0.0, x)
