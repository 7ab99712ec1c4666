"""Facts (atoms.py) of functions and of operations on two tensors.

What a function makes of a number is exact; what it makes of a range is known of those that are
monotone in every bit, or bounded. Results that underflow are accidents.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

import numpy as np
from tvm import relax

from bnn_compiler.ops import relax_ops as ops
from bnn_compiler.ops.functions import FUNCTIONS, evaluate
from bnn_compiler.passes.facts import Fact, distinct
from bnn_compiler.passes.lattice import Mask, Vector


class Known(Protocol):
    """What of Atoms is used here."""

    def fact(self, expr: relax.Expr) -> Fact:
        """What is known of an expression."""

    def may_equal(self, expr: relax.Expr, number: Vector) -> Mask:
        """Per channel, whether it is the number more often than by accident."""


#: What functions are bounded by, whatever they are given.
_BOUNDS = {
    "exp": (0, np.inf),
    "expm1": (-1, np.inf),
    "tanh": (-1, 1),
    "sigmoid": (0, 1),
    "erf": (-1, 1),
    "sqrt": (0, np.inf),
    "rsqrt": (0, np.inf),
    "square": (0, np.inf),
    "abs": (0, np.inf),
    "softplus": (0, np.inf),
    "log_sigmoid": (-np.inf, 0),
    "softsign": (-1, 1),
    "exp2": (0, np.inf),
    "erfc": (0, 2),
    "cosh": (1, np.inf),
    **dict.fromkeys(("sin", "cos"), (-1, 1)),
    "hard_sigmoid": (0, 1),
}
#: Functions that are not 0 but by accident.
_NEVER_ZERO = {"exp", "sigmoid", "softplus", "log_sigmoid", "reciprocal", "rsqrt", "exp2", "cosh"}
#: Functions that are 0 where their argument is, and elsewhere by accident.
_ZERO_AT_ZERO = {
    *("expm1", "tanh", "erf", "log1p", "sqrt", "square", "abs", "negative", "silu", "gelu"),
    *("gelu_tanh", "mish", "elu", "softsign", "tanhshrink", "sin", "tan", "asin", "atan", "sinh"),
}
#: Functions that take one number on a whole range: (result, from, to).
_FLAT: dict[str, Callable[..., list[tuple[float, float, float]]]] = {
    "hard_sigmoid": lambda: [(0.0, -np.inf, -3.0), (1.0, 3.0, np.inf)],
    "hard_swish": lambda: [(0.0, -np.inf, -3.0)],
    "threshold": lambda threshold, value: [(value, -np.inf, threshold)],
    "softshrink": lambda width: [(0.0, -width, width)],
    "hardshrink": lambda width: [(0.0, -width, width)],
}
#: Functions that make of many numbers numbers that have nothing to do with each other.
_GENERIC = {
    *("exp", "expm1", "log", "log1p", "tanh", "sigmoid", "erf", "softplus", "log_sigmoid"),
    *("silu", "gelu", "gelu_tanh", "mish", "exp2", "log2", "log10", "erfc", "sin", "cos", "tan"),
    *("asin", "acos", "atan", "sinh", "cosh"),
}
#: Functions whose results are integers.
_STEPS = {"round", "floor", "ceil", "trunc"}


def _of(call: relax.Call) -> tuple[str, list[float]]:
    return str(call.attrs["function"]), [float(p) for p in call.attrs["params"]]


def _at(name: str, params: list[float], x: Vector) -> Vector:
    return evaluate(name, x.astype(np.float32), params).astype(np.float64)


def _flats(name: str, params: list[float], fact: Fact) -> list[tuple[float, Mask]]:
    found = _FLAT[name](*params) if name in _FLAT else []
    return [(v, (fact.low <= end) & (fact.high >= start)) for v, start, end in found]


def _function(atoms: Known, _: relax.Expr, value: relax.Call) -> Fact:
    fact, (name, params) = atoms.fact(value.args[0]), _of(value)
    low, high = (np.full(fact.low.size, float(v)) for v in _BOUNDS.get(name, (-np.inf, np.inf)))
    if FUNCTIONS[name].falls is not None:
        ends = _at(name, params, fact.low), _at(name, params, fact.high)
        known = ~np.isnan(ends[0]) & ~np.isnan(ends[1])
        low = np.where(known, np.minimum(*ends), low)
        high = np.where(known, np.maximum(*ends), high)
    listed = None
    if fact.atoms is not None and (fact.discrete or name not in _STEPS):
        flat = [np.where(inside, v, np.nan) for v, inside in _flats(name, params, fact)]
        listed = distinct([*(_at(name, params, a) for a in fact.atoms), *flat])
    discrete = fact.discrete and (listed is not None or name not in _GENERIC)
    return replace(fact, low=low, high=high, atoms=listed, lattice=None, discrete=discrete)


def _ask_function(atoms: Known, value: relax.Call, number: Vector) -> Mask:
    source, (name, params) = value.args[0], _of(value)
    maybe = np.ones(number.size, bool)
    for v, inside in _flats(name, params, atoms.fact(source)):
        maybe &= (number != v) | inside
    zeros = np.zeros(number.size)
    if name in _NEVER_ZERO:
        return maybe & (number != 0)
    if name in _ZERO_AT_ZERO:
        return maybe & ((number != 0) | atoms.may_equal(source, zeros))
    if name in ("hard_swish", "softshrink", "hardshrink"):
        flat = np.logical_or.reduce([i for _, i in _flats(name, params, atoms.fact(source))])
        return maybe | ((number == 0) & (flat | atoms.may_equal(source, zeros)))
    return np.ones(number.size, bool)


def _facts(atoms: Known, expr: relax.Expr, value: relax.Call) -> tuple[Fact, Fact]:
    channels = ops.shape_of(expr)[-1]
    a, b = (atoms.fact(x).wide(channels) for x in value.args)
    return a, b


def _scaled(atoms: Known, expr: relax.Expr, value: relax.Call) -> Fact:
    """Products and quotients: of continuous values that have nothing to do with each other, so."""
    a, b = _facts(atoms, expr, value)
    infinite = np.full(a.low.size, np.inf)
    positive = a.nonnegative() and b.nonnegative()
    continuous = a.atoms == () and b.atoms == () and not a.roots & b.roots
    low = 0 * a.low if positive and np.isfinite(a.low).all() else -infinite
    discrete = a.discrete and b.discrete
    return Fact(low, infinite, () if continuous else None, discrete, a.roots | b.roots)


def _extreme(choose: Callable[..., Vector]) -> Callable[..., Fact]:
    def fact(atoms: Known, expr: relax.Expr, value: relax.Call) -> Fact:
        a, b = _facts(atoms, expr, value)
        listed = None
        if a.atoms is not None and b.atoms is not None:
            listed = distinct([*a.atoms, *b.atoms])
        ends = choose(a.low, b.low), choose(a.high, b.high)
        return Fact(*ends, listed, a.discrete and b.discrete, a.roots | b.roots)

    return fact


def _may_equal(atoms: Known, expr: relax.Expr, number: Vector) -> Mask:
    """Asked for each channel of a wider tensor."""
    if ops.shape_of(expr)[-1] == number.size:
        return atoms.may_equal(expr, number)
    found = [atoms.may_equal(expr, np.array([v])) for v in np.unique(number)]
    return np.array([found[i][0] for i in np.searchsorted(np.unique(number), number)])


def _ask_product(atoms: Known, value: relax.Call, number: Vector) -> Mask:
    zeros = np.zeros(number.size)
    return (number != 0) | np.logical_or(*(_may_equal(atoms, a, zeros) for a in value.args))


def _ask_quotient(atoms: Known, value: relax.Call, number: Vector) -> Mask:
    return (number != 0) | _may_equal(atoms, value.args[0], np.zeros(number.size))


def _ask_either(atoms: Known, value: relax.Call, number: Vector) -> Mask:
    return np.logical_or(*(_may_equal(atoms, a, number) for a in value.args))


#: As in atoms.py.
RULES: dict[str, Callable[..., Fact]] = {
    "relax.bnn.function": _function,
    "relax.multiply": _scaled,
    "relax.divide": _scaled,
    "relax.minimum": _extreme(np.minimum),
    "relax.maximum": _extreme(np.maximum),
}
QUESTIONS: dict[str, Callable[..., Mask]] = {
    "relax.bnn.function": _ask_function,
    "relax.multiply": _ask_product,
    "relax.divide": _ask_quotient,
    "relax.minimum": _ask_either,
    "relax.maximum": _ask_either,
}
