"""Facts (atoms.py) of general programs, whose channels are mixed: one fact for a whole tensor.

A step is what the same operator of images is on a value of one channel; a move is its operand.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from math import prod
from typing import Any, Protocol

import numpy as np
from tvm import relax

from bnn_compiler.ops import relax_ops as ops
from bnn_compiler.ops.functions import FUNCTIONS
from bnn_compiler.ops.general import Program, Shape, Step, primitive
from bnn_compiler.ops.graph import affine, bind
from bnn_compiler.ops.graph import constant as constant_of
from bnn_compiler.ops.primitives import Kind
from bnn_compiler.passes.facts import Fact, Known, constant
from bnn_compiler.passes.lattice import MOST_BIASES, NOWHERE, Mask, Vector, lattice_union, listed


class Outside(Known, Protocol):
    """What is known of a program's arguments."""

    def inside(self, steps: "Steps") -> Known:
        """What is known of the steps of a program."""


@dataclass
class Steps:
    """A program as operators of images: ``values``, the ``facts`` of what is none of those.

    ``borrowed`` are the arguments that are not constant.
    """

    values: dict[relax.Var, relax.Expr] = field(default_factory=dict)
    facts: dict[relax.Var, Fact] = field(default_factory=dict)
    borrowed: dict[relax.Var, relax.Expr] = field(default_factory=dict)

    def opaque(self, fact: Fact | None = None) -> relax.Var:
        """A variable of which ``fact`` is known, or nothing."""
        var = relax.DataflowVar("step", relax.TensorType([1, 1, 1, 1], "float32"))
        infinite = np.full(1, np.inf)
        self.facts[var] = fact or Fact(-infinite, infinite, None, False, frozenset([var]))
        return var

    def call(self, expr: relax.Expr) -> relax.Var:
        """A variable bound to an operator."""
        var = bind(expr, "step")
        self.values[var] = expr
        return var

    def affine(self, x: relax.Var, scale: float, shift: float) -> relax.Var:
        """scale * x + shift."""
        return self.call(affine(x, [scale], [shift]))

    def number(self, x: relax.Var) -> float | None:
        """The one number that a constant is."""
        fact = self.facts.get(x)
        if fact is None or not fact.only or fact.low[0] != fact.high[0]:
            return None
        return float(fact.low[0])


@dataclass
class _Walk:
    """One program gone through; ``known`` is what is known of its steps."""

    steps: Steps
    known: Known

    def step(
        self, step: Step, operands: list[relax.Var], count: int, whole: bool = False
    ) -> relax.Var:
        """The variable of one step; ``count`` elements are summed up in each of its own.

        ``whole`` if those are all that an image has.
        """
        op, params, steps = step.op, step.params, self.steps
        if op == "number":
            return steps.opaque(constant(1, float(params[0])))
        if op in FUNCTIONS:
            return self._function(op, operands[0], params)
        if op == "clip":
            return steps.call(relax.op.clip(operands[0], *map(float, params)))
        if op == "sign":
            return steps.call(ops.call_op("sign", operands, zero=int(params[0])))
        if op in ("equal", "less", "less_equal"):
            levels = np.zeros(1), np.ones(1)
            return steps.opaque(Fact(*levels, listed(levels), True, frozenset(), only=True))
        if op in ("where", "concat", "pad"):
            border = [steps.opaque(constant(1, float(params[2])))] if op == "pad" else []
            return self._one_of([*operands[op == "where" :], *border])
        if op in ("sum", "matmul"):
            return self._sum(operands, count, whole)
        if op in ("copy", "reduce_max", "reduce_min") or primitive(op).kind is Kind.MOVE:
            return operands[0]
        if op in _OPERATIONS:
            return self._operation(op, *operands)
        return self._made_of(operands)

    def _made_of(self, operands: Sequence[relax.Var]) -> relax.Var:
        """What of any number has to do with all ``operands``."""
        facts = [self.known.fact(x) for x in operands]
        var = self.steps.opaque()
        roots = frozenset([var]).union(*(f.roots for f in facts))
        discrete = all(f.discrete for f in facts)
        self.steps.facts[var] = replace(self.steps.facts[var], discrete=discrete, roots=roots)
        return var

    def _function(self, name: str, x: relax.Var, params: Sequence[Any]) -> relax.Var:
        literals = [float(p) for p in params]
        return self.steps.call(ops.call_op("function", [x], function=name, params=literals))

    def _operation(self, op: str, x: relax.Var, y: relax.Var) -> relax.Var:
        """Of two tensors; with one number an affine map."""
        left, right = self.steps.number(x), self.steps.number(y)
        if op == "sub":
            op, y, right = "add", self.steps.affine(y, -1.0, 0.0), None if right is None else -right
        if op in ("add", "mul") and left is not None:
            x, y, right = y, x, left
        if op == "add" and right is not None:
            return self.steps.affine(x, 1.0, right)
        if op in ("mul", "div") and right:
            return self.steps.affine(x, right if op == "mul" else 1 / right, 0.0)
        if op == "mul" and x.same_as(y):
            return self._function("square", x, ())
        return self.steps.call(_OPERATIONS[op](x, y))

    def _one_of(self, parts: Sequence[relax.Var]) -> relax.Var:
        """Each element is one of these."""
        facts = [self.known.fact(p) for p in parts]
        low, high = (
            choose.reduce([getattr(f, end) for f in facts])
            for choose, end in ((np.minimum, "low"), (np.maximum, "high"))
        )
        points = lattice_union([f.points for f in facts])
        roots = frozenset().union(*(f.roots for f in facts))
        free = frozenset.intersection(*(f.free for f in facts))
        discrete, only = all(f.discrete for f in facts), all(f.only for f in facts)
        return self.steps.opaque(Fact(low, high, points, discrete, roots, free=free, only=only))

    def _sum(self, operands: Sequence[relax.Var], count: int, whole: bool) -> relax.Var:
        """Of ``count`` elements, or products: continuous if their terms are.

        So is the sum of a ``whole`` image that is not of the same few numbers in all channels: one
        whose elements are all at them has nothing left to compare, neither mean nor deviation.
        """
        facts = [self.known.fact(x) for x in operands]
        if count == 1 and len(operands) == 1:
            return operands[0]
        never = [not self.known.may_equal(x, np.zeros(1))[0] for x in operands]
        continuous = [
            f.atoms == () or (n and not f.discrete) for f, n in zip(facts, never, strict=True)
        ]
        if len(operands) == 1:
            mixed = whole and count >= _MANY and (facts[0].varied or not facts[0].discrete)
            smooth = facts[0].atoms == () or mixed
            ends = facts[0].low * count, facts[0].high * count
        else:
            smooth = any(continuous) and all(n or c for n, c in zip(never, continuous, strict=True))
            nonnegative = all(f.nonnegative() for f in facts)
            ends = np.full(1, 0.0 if nonnegative else -np.inf), np.full(1, np.inf)
        var = self.steps.opaque()
        discrete = all(f.discrete for f in facts)
        roots = frozenset([var])
        points, free = (NOWHERE, roots) if smooth else (None, frozenset[relax.Var]())
        if not smooth:
            # One term alone may be what is left of it.
            roots = roots.union(*(f.roots for f in facts))
        self.steps.facts[var] = Fact(*ends, points, discrete, roots, free=free)
        return var


_OPERATIONS = {
    "add": relax.op.add,
    "sub": relax.op.subtract,
    "mul": relax.op.multiply,
    "div": relax.op.divide,
    "max": relax.op.maximum,
    "min": relax.op.minimum,
}


def _of_array(values: np.ndarray) -> Fact:
    """Of a constant: its numbers, or 0 alone where they are many."""
    low, high = (np.full(1, float(v)) for v in (values.min(), values.max()))
    numbers = np.unique(values)
    if numbers.size <= MOST_BIASES:
        points = listed([np.full(1, float(v)) for v in numbers])
        return Fact(low, high, points, True, frozenset(), only=True)
    zero = listed([np.zeros(1)]) if 0 in numbers else NOWHERE
    return Fact(low, high, zero, False, frozenset())


#: So many elements are not all at one of the numbers that they take often.
_MANY = 64


def _program(atoms: Outside, call: relax.Call) -> tuple[Known, relax.Var]:
    """What is known of a program's steps, and the variable of its value."""
    steps = Steps()
    known = atoms.inside(steps)
    walk = _Walk(steps, known)
    program = Program.parse([str(line) for line in call.attrs["program"]])
    shapes = program.shapes([ops.shape_of(a) for a in call.args])
    names: dict[str, relax.Var] = {}
    for i, argument in enumerate(call.args):
        # The same twice has everything to do with itself.
        same = next((k for k in range(i) if call.args[k].same_as(argument)), None)
        if same is not None:
            names[f"a{i}"] = names[f"a{same}"]
            continue
        array = constant_of(argument)
        fact = atoms.fact(argument).whole() if array is None else _of_array(array)
        names[f"a{i}"] = var = steps.opaque(fact)
        if array is None:
            steps.borrowed[var] = argument
    for i, step in enumerate(program.steps):
        operands = [names[v] for v in step.operands]
        names[f"t{i}"] = walk.step(step, operands, *_terms(step, shapes))
    return known, names[program.result]


def _terms(step: Step, shapes: dict[str, Shape]) -> tuple[int, bool]:
    """How many elements are summed up in each, and whether they are all that an image has."""
    if step.op == "matmul":
        return shapes[step.operands[0]][-1], False
    if step.op == "sum":
        shape, axes = shapes[step.operands[0]], set(step.params[0])
        return prod(shape[axis] for axis in axes), axes >= set(range(1, len(shape)))
    return 1, False


def general(atoms: Outside, expr: relax.Expr, value: relax.Call) -> Fact:
    """Of a call of bnn.general."""
    known, result = _program(atoms, value)
    return known.fact(result).wide((ops.shape_of(expr) or (1,))[-1])


def ask_general(atoms: Outside, value: relax.Call, number: Vector) -> Mask:
    """Whether it is the number often."""
    known, result = _program(atoms, value)
    found = {v: bool(known.may_equal(result, np.full(1, v))[0]) for v in np.unique(number)}
    return np.array([found[v] for v in number])
