"""Which numbers a value takes with more than rounding's probability, and its range.

A continuous value is 0 by accident only. Behind a ReLU, a pad or a binary convolution 0 is common,
and then it matters that torch.sign leaves it at 0.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from tvm import relax

from bnn_compiler.ops import relax_ops as ops
from bnn_compiler.ops.graph import Graph, array, inputs, operands_first
from bnn_compiler.ops.operators import tiled
from bnn_compiler.passes import arithmetic_facts, general_facts, linear_facts, move_facts
from bnn_compiler.passes.averaged import averaged
from bnn_compiler.passes.facts import Fact, constant, joined
from bnn_compiler.passes.general_facts import Steps
from bnn_compiler.passes.lattice import (
    NOWHERE,
    Mask,
    Vector,
    lattice_mean,
    lattice_sum,
    lattice_union,
    listed,
)

#: More questions do not wait for each other.
_DEEPEST = 40


class Atoms:
    """Facts about the values of ``graph``, found on demand. What is unknown may be any number."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self._facts: dict[relax.Var, Fact] = {}
        self._answers: dict[tuple[relax.Var, bytes], Mask] = {}
        #: Of a program's arguments: what they are outside.
        self._borrowed: dict[relax.Var, relax.Expr] = {}
        self._outside: Atoms = self
        #: How many questions wait for the answer of another one.
        self._asking = 0

    def inside(self, steps: Steps) -> "Atoms":
        """Facts about the steps of a general program, which may still get more."""
        found = Atoms(Graph([], steps.values, []))
        found._facts, found._borrowed, found._outside = steps.facts, steps.borrowed, self
        return found

    def fact(self, expr: relax.Expr) -> Fact:
        """What is known of ``expr``."""
        if expr in self._facts:
            return self._facts[expr]
        # Operands first: a network is deeper than Python's stack.
        for var in operands_first(expr, self._asked):
            self._find(var)
        return self._find(expr)

    def _asked(self, expr: relax.Expr) -> list[relax.Var]:
        """What a rule asks about and nothing is known of yet."""
        value = self.graph.value(expr)
        name = ops.called(value) if value is not None else ""
        if name not in _RULES or name in linear_facts.ROOTS:
            return []
        return [v for v in inputs(value) if v not in self._facts]

    def _find(self, expr: relax.Expr) -> Fact:
        if expr in self._facts:
            return self._facts[expr]
        value = self.graph.value(expr)
        rule = _RULES.get(str(value.op.name)) if isinstance(value, relax.Call) else None
        fact = rule(self, expr, value) if rule else _unknown(expr)
        if isinstance(expr, relax.Var):
            self._facts[expr] = fact
        return fact

    def may_equal(self, expr: relax.Expr, number: Vector) -> Mask:
        """Per channel, whether ``expr`` is exactly ``number`` [C] more often than by accident.

        It may be any that it is not known to be none of, where that takes too many questions.
        """
        if not isinstance(expr, relax.Var):
            return self._may_equal(expr, number)
        question = expr, number.tobytes()
        if question not in self._answers:
            self._asking += 1
            self._answers[question] = self._may_equal(expr, number)
            self._asking -= 1
        return self._answers[question]

    def _may_equal(self, expr: relax.Expr, number: Vector) -> Mask:
        fact = self.fact(expr)
        inside = (fact.low <= number) & (number <= fact.high)
        if not inside.any():
            return inside
        if fact.points is not None:
            inside &= fact.points.holds(number)
            if fact.atoms is not None or not inside.any():
                return inside
        if self._asking > _DEEPEST:
            return inside
        if expr in self._borrowed:
            argument = self._borrowed[expr]
            everywhere = np.full(_channels(argument), number[0])
            return inside & bool(self._outside.may_equal(argument, everywhere).any())
        value = self.graph.value(expr)
        ask = _QUESTIONS.get(str(value.op.name)) if isinstance(value, relax.Call) else None
        return inside & ask(self, value, number) if ask else inside

    def may_be_zero(self, expr: relax.Expr) -> bool:
        """Whether any channel of ``expr`` is exactly 0 more often than by accident."""
        return bool(self.may_equal(expr, np.zeros(_channels(expr))).any())


def _channels(expr: relax.Expr) -> int:
    return ops.shape_of(expr)[-1]


def _any(masks: list[Mask], like: Mask) -> Mask:
    return np.logical_or.reduce(masks) if masks else np.zeros_like(like)


def _unknown(expr: relax.Expr) -> Fact:
    infinite = np.full(_channels(expr), np.inf)
    roots = frozenset([expr] if isinstance(expr, relax.Var) else [])
    return Fact(-infinite, infinite, None, False, roots)


# ---- facts, operator by operator


def _affine(atoms: Atoms, _: relax.Expr, value: relax.Call) -> Fact:
    fact = atoms.fact(value.args[0])
    scale, bias = (array(a).astype(np.float64) for a in value.args[1:3])
    constant = scale == 0

    def at(x: Vector) -> Vector:
        with np.errstate(invalid="ignore"):
            return np.where(constant, bias, x * scale + bias)

    ends = at(fact.low), at(fact.high)
    points = None if fact.points is None else fact.points.affine(scale, bias)
    if constant.any():
        points = lattice_union([points, listed([np.where(constant, bias, np.nan)])])
    low, high = np.minimum(*ends), np.maximum(*ends)
    free = frozenset() if constant.any() else fact.free
    return replace(fact, low=low, high=high, points=points, free=free)


def _clip(atoms: Atoms, _: relax.Expr, value: relax.Call) -> Fact:
    fact = atoms.fact(value.args[0])
    lo, hi = (float(a.value) for a in value.args[1:3])
    cut = [np.where(fact.low < lo, min(lo, hi), np.nan), np.where(fact.high > hi, hi, np.nan)]
    points = fact.points
    if fact.atoms is not None:
        points = listed([np.clip(a, lo, hi) for a in fact.atoms])
    return replace(
        fact,
        low=np.clip(fact.low, lo, hi),
        high=np.clip(fact.high, lo, hi),
        points=lattice_union([points, listed(cut)]),
        free=frozenset(),
    )


def _prelu(atoms: Atoms, _: relax.Expr, value: relax.Call) -> Fact:
    fact = atoms.fact(value.args[0])
    slope = array(value.args[1]).astype(np.float64)

    def at(x: Vector) -> Vector:
        return np.where(x > 0, x, np.where(slope == 0, 0.0, x * np.where(slope == 0, 1, slope)))

    ends = at(fact.low), at(fact.high)
    around = (fact.low < 0) & (fact.high > 0)
    flat = np.where((slope == 0) & (fact.low < 0), 0.0, np.nan)
    if fact.atoms is not None:
        points = listed([*(np.where(np.isnan(a), np.nan, at(a)) for a in fact.atoms), flat])
    else:
        below = None
        if fact.points is not None:
            below = fact.points.affine(slope, np.where((slope == 0) | (fact.low >= 0), np.nan, 0))
        points = lattice_union([fact.points, below, listed([flat])])
    return replace(
        fact,
        low=np.where(around, np.minimum(0, np.minimum(*ends)), np.minimum(*ends)),
        high=np.where(around, np.maximum(0, np.maximum(*ends)), np.maximum(*ends)),
        points=points,
        free=frozenset() if np.any(slope == 0) else fact.free,
    )


def _add(atoms: Atoms, expr: relax.Expr, value: relax.Call) -> Fact:
    a, b = (f.wide(_channels(expr)) for f in map(atoms.fact, value.args))
    free = a.free_beside(b) | b.free_beside(a)
    points = NOWHERE if free else None
    discrete, only = a.discrete and b.discrete, a.only and b.only
    if only or not a.roots & b.roots:
        points = lattice_sum(a.points, b.points)
    ends, roots = (a.low + b.low, a.high + b.high), a.roots | b.roots
    return Fact(*ends, points, discrete, roots, free=free, only=only)


def _keep(atoms: Atoms, _: relax.Expr, value: relax.Call) -> Fact:
    return atoms.fact(value.args[0])


def _average(atoms: Atoms, expr: relax.Expr, value: relax.Call) -> Fact:
    """Averages of 0 are exactly 0; those of other points are means of as many as there are."""
    fact, attrs = atoms.fact(value.args[0]), value.attrs
    if fact.low.size != _channels(expr):
        return _unknown(expr)
    points = fact.points if _only_zero(fact) else None
    low, high = fact.low, fact.high
    if ops.is_op(value, "relax.mean"):
        count = int(np.prod(ops.shape_of(value.args[0]))) // int(np.prod(ops.shape_of(expr)))
        points = points or lattice_mean(fact.points, count)
    elif any(int(v) for v in attrs.padding):
        if attrs.count_include_pad or attrs.ceil_mode:
            low, high = np.minimum(low, 0), np.maximum(high, 0)
        else:
            points = points or lattice_mean(fact.points, averaged(expr, value))
    elif not attrs.ceil_mode:
        points = points or lattice_mean(
            fact.points, int(np.prod([int(v) for v in attrs.pool_size]))
        )
    return replace(fact, low=low, high=high, points=points)


def _blended(atoms: Atoms, _: relax.Expr, value: relax.Call) -> Fact:
    """By weights of its own for each place."""
    fact = atoms.fact(value.args[0])
    return replace(fact, points=fact.points if _only_zero(fact) else None)


def _only_zero(fact: Fact) -> bool:
    return fact.atoms is not None and all(np.all(np.isnan(a) | (a == 0)) for a in fact.atoms)


def _resize(atoms: Atoms, expr: relax.Expr, value: relax.Call) -> Fact:
    if str(value.attrs["method"]) == "nearest_neighbor":
        return _keep(atoms, expr, value)
    if str(value.attrs["method"]) == "linear":
        return _blended(atoms, expr, value)
    return _unknown(expr)


def _tile(atoms: Atoms, _: relax.Expr, value: relax.Call) -> Fact:
    fact = atoms.fact(value.args[0])
    return fact.taken(tiled(value.attrs, fact.low.size))


def _concat(atoms: Atoms, expr: relax.Expr, value: relax.Call) -> Fact:
    parts = list(value.args[0].fields)
    if int(value.attrs.axis) != len(ops.shape_of(expr)) - 1:
        return _unknown(expr)
    return joined([atoms.fact(p) for p in parts])


def _pad_channels(atoms: Atoms, _: relax.Expr, value: relax.Call) -> Fact:
    fill = float(value.attrs["pad_value"])
    before, after = (constant(int(value.attrs[k]), fill) for k in ("before", "after"))
    return joined([before, atoms.fact(value.args[0]), after])


def _pad(atoms: Atoms, expr: relax.Expr, value: relax.Call) -> Fact:
    fact = atoms.fact(value.args[0])
    if fact.low.size != _channels(expr):
        return _unknown(expr)
    return fact.framed(float(value.attrs.pad_value))


def _sign(atoms: Atoms, _: relax.Expr, value: relax.Call) -> Fact:
    source, zero = value.args[0], int(value.attrs["zero"])
    fact = atoms.fact(source)
    around = (fact.low <= 0) & (fact.high >= 0)
    zeros = around if zero else atoms.may_equal(source, np.zeros(fact.low.size))
    kinds = [
        np.where(fact.low < 0, -1.0, np.nan),
        np.where(zeros, float(zero), np.nan),
        np.where(fact.high > 0, 1.0, np.nan),
    ]
    ends = np.fmin.reduce(kinds), np.fmax.reduce(kinds)
    return Fact(*ends, listed(kinds), True, fact.roots, only=True)


_RULES: dict[str, Callable[[Atoms, relax.Expr, relax.Call], Fact]] = {
    "relax.bnn.affine": _affine,
    "relax.bnn.sign": _sign,
    "relax.bnn.tile": _tile,
    "relax.bnn.pad_channels": _pad_channels,
    "relax.bnn.tokens": _keep,
    "relax.clip": _clip,
    "relax.nn.prelu": _prelu,
    "relax.add": _add,
    **arithmetic_facts.RULES,
    **move_facts.RULES,
    "relax.bnn.general": general_facts.general,
    "relax.bnn.plain": _keep,
    "relax.nn.max_pool2d": _keep,
    "relax.nn.avg_pool2d": _average,
    "relax.mean": _average,
    "relax.bnn.resize2d": _resize,
    "relax.concat": _concat,
    "relax.nn.pad": _pad,
    **linear_facts.RULES,
}


# ---- whether a value is a number, asked of its operands


def _ask_affine(atoms: Atoms, value: relax.Call, number: Vector) -> Mask:
    scale, bias = (array(a).astype(np.float64) for a in value.args[1:3])
    constant = scale == 0
    before = (number - bias) / np.where(constant, 1, scale)
    return np.where(constant, number == bias, atoms.may_equal(value.args[0], before))


def _ask_clip(atoms: Atoms, value: relax.Call, number: Vector) -> Mask:
    fact = atoms.fact(value.args[0])
    lo, hi = (float(a.value) for a in value.args[1:3])
    cut = ((number == min(lo, hi)) & (fact.low < lo)) | ((number == hi) & (fact.high > hi))
    return cut | atoms.may_equal(value.args[0], number)


def _ask_prelu(atoms: Atoms, value: relax.Call, number: Vector) -> Mask:
    slope = array(value.args[1]).astype(np.float64)
    fact = atoms.fact(value.args[0])
    flat = (slope == 0) & (number == 0) & (fact.low < 0)
    scaled = number / np.where(slope == 0, 1, slope)
    below = (scaled <= 0) & (slope != 0) & atoms.may_equal(value.args[0], scaled)
    return flat | below | ((number >= 0) & atoms.may_equal(value.args[0], number))


def _ask_add(atoms: Atoms, value: relax.Call, number: Vector) -> Mask:
    facts = [atoms.fact(a) for a in value.args]
    everything = np.ones(number.size, bool)
    channels = {_channels(a) for a in value.args}
    if facts[0].roots & facts[1].roots or len(channels) > 1:
        return everything
    for fact, other in zip(facts, reversed(value.args), strict=True):
        if fact.atoms is not None:
            return _any([atoms.may_equal(other, number - a) for a in fact.atoms], everything)
    return everything


def _ask_first(atoms: Atoms, value: relax.Call, number: Vector) -> Mask:
    return atoms.may_equal(value.args[0], number)


def _ask_resize(atoms: Atoms, value: relax.Call, number: Vector) -> Mask:
    if str(value.attrs["method"]) != "nearest_neighbor":
        return np.ones(number.size, bool)
    return atoms.may_equal(value.args[0], number)


def _ask_concat(atoms: Atoms, value: relax.Call, number: Vector) -> Mask:
    parts = list(value.args[0].fields)
    sizes = [_channels(p) for p in parts]
    if sum(sizes) != number.size:
        return np.ones(number.size, bool)
    pieces = np.split(number, np.cumsum(sizes)[:-1])
    return np.concatenate([atoms.may_equal(p, t) for p, t in zip(parts, pieces, strict=True)])


def _ask_pad(atoms: Atoms, value: relax.Call, number: Vector) -> Mask:
    return (number == float(value.attrs.pad_value)) | atoms.may_equal(value.args[0], number)


def _ask_pad_channels(atoms: Atoms, value: relax.Call, number: Vector) -> Mask:
    before, inside = int(value.attrs["before"]), _channels(value.args[0])
    found = number == float(value.attrs["pad_value"])
    kept = slice(before, before + inside)
    found[kept] = atoms.may_equal(value.args[0], number[kept])
    return found


_QUESTIONS: dict[str, Callable[[Atoms, relax.Call, Vector], Mask]] = {
    "relax.bnn.affine": _ask_affine,
    "relax.clip": _ask_clip,
    "relax.nn.prelu": _ask_prelu,
    "relax.add": _ask_add,
    **arithmetic_facts.QUESTIONS,
    **move_facts.QUESTIONS,
    "relax.bnn.general": general_facts.ask_general,
    "relax.bnn.plain": _ask_first,
    "relax.bnn.tokens": _ask_first,
    "relax.nn.max_pool2d": _ask_first,
    "relax.bnn.resize2d": _ask_resize,
    "relax.concat": _ask_concat,
    "relax.nn.pad": _ask_pad,
    "relax.bnn.pad_channels": _ask_pad_channels,
}
