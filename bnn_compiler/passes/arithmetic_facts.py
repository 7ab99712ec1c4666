"""Facts (atoms.py) of functions and of operations on two tensors.

What a function makes of a number is exact; what it makes of a range is known of those that are
monotone in every bit, or bounded. Results that underflow are accidents.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from tvm import relax

from bnn_compiler.ops import relax_ops as ops
from bnn_compiler.ops.functions import FUNCTIONS, LEVELS, evaluate
from bnn_compiler.passes.facts import Fact, Known
from bnn_compiler.passes.lattice import (
    MOST_BIASES,
    NOWHERE,
    Lattice,
    Mask,
    Vector,
    lattice_union,
    listed,
)

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
    "elu": lambda below, above, inside: [] if below else [(0.0, -np.inf, 0.0)],
    **dict.fromkeys(("gelu", "gelu_tanh"), lambda: [(0.0, -np.inf, -5.0)]),
    "softshrink": lambda width: [(0.0, -width, width)],
    "hardshrink": lambda width: [(0.0, -width, width)],
}
#: Functions that make of many numbers numbers that have nothing to do with each other.
_GENERIC = {
    *("exp", "expm1", "log", "log1p", "tanh", "sigmoid", "erf", "softplus", "log_sigmoid"),
    *("silu", "gelu", "gelu_tanh", "mish", "exp2", "log2", "log10", "erfc", "sin", "cos", "tan"),
    *("asin", "acos", "atan", "sinh", "cosh"),
}
#: Functions that are constant on no range.
_NOWHERE_FLAT = _GENERIC | {"abs", "square", "negative"}
#: Functions whose results are integers, and those that have few results whatever they are given.
_STEPS = {"round", "floor", "ceil", "trunc"}
_FEW = _STEPS.union(LEVELS)


def _of(call: relax.Call) -> tuple[str, list[float]]:
    return str(call.attrs["function"]), [float(np.float32(p)) for p in call.attrs["params"]]


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
    points = None
    if fact.atoms is not None and (fact.only or name not in _FEW):
        flat = [np.where(inside, v, np.nan) for v, inside in _flats(name, params, fact)]
        points = listed([*(_at(name, params, a) for a in fact.atoms), *flat])
    discrete = fact.discrete and (points is not None or name not in _GENERIC)
    only = fact.only and points is not None
    free = fact.free if name in _NOWHERE_FLAT else frozenset()
    if name in _FEW and points is None:
        points = _whole_numbers(low, high) if name in _STEPS else _levels(name, params, low.size)
        discrete, only = True, points is not None
    return replace(fact, low=low, high=high, points=points, discrete=discrete, free=free, only=only)


def _whole_numbers(low: Vector, high: Vector) -> Lattice | None:
    """Those within the bounds of each channel; None if they are many."""
    first, last = float(low.min()), float(high.max())
    if not last - first < MOST_BIASES:
        return None
    numbers = np.arange(np.ceil(first), last + 1)
    return listed([np.where((low <= k) & (k <= high), k, np.nan) for k in numbers])


def _levels(name: str, params: list[float], channels: int) -> Lattice | None:
    """Every result of a quantiser; None if they are many."""
    _, zero, first, last, *scale = params
    if not last - first < MOST_BIASES:
        return None
    numbers = np.arange(first, last + 1, dtype=np.float32)
    if scale:
        numbers = (numbers - np.float32(zero)) * np.float32(scale[0])
    return listed([np.full(channels, float(n)) for n in numbers])


def _ask_function(atoms: Known, value: relax.Call, number: Vector) -> Mask:
    source, (name, params) = value.args[0], _of(value)
    maybe = np.ones(number.size, bool)
    flats = _flats(name, params, atoms.fact(source))
    zeros = np.zeros(number.size)
    for v, inside in flats:
        maybe &= (number != v) | inside | _meets(atoms, source, name, v)
    if name in _NEVER_ZERO:
        return maybe & (number != 0)
    if name in _ZERO_AT_ZERO and not any(inside.any() for _, inside in flats):
        return maybe & ((number != 0) | atoms.may_equal(source, zeros))
    if name in ("hard_swish", "softshrink", "hardshrink"):
        flat = np.logical_or.reduce([i for _, i in _flats(name, params, atoms.fact(source))])
        return maybe | ((number == 0) & (flat | atoms.may_equal(source, zeros)))
    return np.ones(number.size, bool)


def _meets(atoms: Known, source: relax.Expr, name: str, number: float) -> Mask:
    """Where a function that is ``number`` on a range is so at that number too."""
    channels = atoms.fact(source).low.size
    if name in ("gelu", "gelu_tanh", "hard_swish", "threshold"):
        return atoms.may_equal(source, np.full(channels, number))
    return np.zeros(channels, bool)


def _facts(atoms: Known, expr: relax.Expr, value: relax.Call) -> tuple[Fact, Fact]:
    channels = ops.shape_of(expr)[-1]
    a, b = (atoms.fact(x).wide(channels) for x in value.args)
    return a, b


def _ends(a: Fact, b: Fact) -> tuple[Vector, Vector]:
    infinite = np.full(a.low.size, np.inf)
    positive = a.nonnegative() and b.nonnegative()
    return 0 * a.low if positive and np.isfinite(a.low).all() else -infinite, infinite


def _product(atoms: Known, expr: relax.Expr, value: relax.Call) -> Fact:
    """Of values that have nothing to do with each other: products of points, and of 0 with all."""
    a, b = _facts(atoms, expr, value)
    zeros = np.zeros(a.low.size)
    zero = np.logical_or(*(_may_equal(atoms, x, zeros) for x in value.args))
    free = a.free_beside(b) | b.free_beside(a)
    points = NOWHERE if free else None
    only = a.only and b.only
    if only or not a.roots & b.roots:
        points = _points(a, b)
    points = lattice_union([points, listed([np.where(zero, 0.0, np.nan)])])
    free = frozenset() if zero.any() else free
    roots, discrete = a.roots | b.roots, a.discrete and b.discrete
    return Fact(*_ends(a, b), points, discrete, roots, free=free, only=only)


def _points(a: Fact, b: Fact) -> Lattice | None:
    """Products of points, where one side's are listed."""
    if () in (a.atoms, b.atoms):
        return NOWHERE
    if a.atoms is None:
        a, b = b, a
    if a.atoms is None or b.points is None:
        return None
    factors = [(np.nan_to_num(n), np.where(np.isnan(n), np.nan, 0)) for n in a.atoms]
    return lattice_union([b.points.affine(number, missing) for number, missing in factors])


def _quotient(atoms: Known, expr: relax.Expr, value: relax.Call) -> Fact:
    """Continuous in what only the dividend is; and of continuous values that are not related."""
    a, b = _facts(atoms, expr, value)
    free = a.free_beside(b)
    continuous = a.atoms == () and b.atoms == () and not a.roots & b.roots
    points = NOWHERE if continuous or free else None
    roots = a.roots | b.roots
    return Fact(*_ends(a, b), points, a.discrete and b.discrete, roots, free=free)


def _extreme(choose: Callable[..., Vector]) -> Callable[..., Fact]:
    def fact(atoms: Known, expr: relax.Expr, value: relax.Call) -> Fact:
        a, b = _facts(atoms, expr, value)
        points = lattice_union([a.points, b.points])
        ends = choose(a.low, b.low), choose(a.high, b.high)
        roots, discrete = a.roots | b.roots, a.discrete and b.discrete
        return Fact(*ends, points, discrete, roots, only=a.only and b.only)

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
    "relax.multiply": _product,
    "relax.divide": _quotient,
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
