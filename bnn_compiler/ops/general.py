"""Programs of primitives on dense tensors of any rank: what ``relax.bnn.general`` computes.

A program is data, a line for each step: ``add(a0,t1)`` or ``slice(a0;[0,0],[1,2],[4,8])``, with a
step's operands, ``a0`` the first argument and ``t1`` the second step's value, and its parameters.
The last step's value is the program's. Inside, everything is float32: truth values are 1 and 0,
integers are exact up to 2**24; ``store`` makes them integers again for the caller.
ops/primitives.py has the primitives.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bnn_compiler.ops.functions import FUNCTIONS, evaluate
from bnn_compiler.ops.primitives import PRIMITIVES, Kind, Primitive

Shape = tuple[int, ...]
_LINE = re.compile(r"(\w+)\(([^;]*)(?:;(.*))?\)")


@dataclass(frozen=True)
class Step:
    """One primitive: its operands' names and its parameters, numbers and tuples of numbers."""

    op: str
    operands: tuple[str, ...]
    params: tuple[Any, ...] = ()

    def __str__(self) -> str:
        text = json.dumps(self.params, separators=(",", ":"))[1:-1]
        return f"{self.op}({','.join(self.operands)}{';' + text if self.params else ''})"

    @staticmethod
    def parse(text: str) -> "Step":
        """The inverse of ``str``. Raises ValueError for anything else."""
        found = _LINE.fullmatch(text)
        if found is None:
            raise ValueError(f"{text!r} is no step of a program")
        op, operands, params = found.groups()
        numbers = _tuples(json.loads(f"[{params or ''}]"))
        return Step(op, tuple(v for v in operands.split(",") if v), numbers)


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def primitive(op: str) -> Primitive:
    """A primitive of the table, or a function of one value. Raises KeyError for neither."""
    if op in FUNCTIONS:
        return Primitive(Kind.MAP, _first, lambda params, x: evaluate(op, x, params))
    return PRIMITIVES[op]


def _first(_: Sequence[Any], shapes: Sequence[Shape]) -> Shape:
    return shapes[0]


@dataclass(frozen=True)
class Program:
    """Its steps."""

    steps: tuple[Step, ...]

    @staticmethod
    def parse(lines: Sequence[str]) -> "Program":
        """From ``lines``."""
        return Program(tuple(map(Step.parse, lines)))

    @property
    def lines(self) -> list[str]:
        """The text of each step."""
        return [str(s) for s in self.steps]

    def shapes(self, arguments: Sequence[Shape]) -> dict[str, Shape]:
        """The shape of each argument's and each step's value by name, in order."""
        found = {f"a{i}": tuple(shape) for i, shape in enumerate(arguments)}
        for i, step in enumerate(self.steps):
            rule = primitive(step.op).shape
            found[f"t{i}"] = rule(step.params, [found[v] for v in step.operands])
        return found

    def shape(self, arguments: Sequence[Shape]) -> Shape:
        """The shape of its value."""
        return self.shapes(arguments)[self.result]

    @property
    def result(self) -> str:
        """The name of its value."""
        return f"t{len(self.steps) - 1}"

    @property
    def dtype(self) -> str:
        """Of its value."""
        last = self.steps[-1]
        return str(last.params[0]) if last.op == "store" else "float32"

    def evaluate(self, arguments: Sequence[NDArray[Any]]) -> NDArray[Any]:
        """Its value in numpy."""
        values: dict[str, NDArray[Any]] = {
            f"a{i}": np.asarray(a, np.float32) for i, a in enumerate(arguments)
        }
        for i, step in enumerate(self.steps):
            meaning = primitive(step.op).meaning
            with np.errstate(all="ignore"):
                value = meaning(step.params, *(values[v] for v in step.operands))
            values[f"t{i}"] = value if step.op == "store" else np.asarray(value, np.float32)
        return values[self.result]

    def renamed(self, names: Mapping[str, str], first: int) -> tuple[Step, ...]:
        """The steps as they follow ``first`` others; ``names`` are what the arguments become."""

        def new(name: str) -> str:
            return names[name] if name[0] == "a" else f"t{first + int(name[1:])}"

        return tuple(Step(s.op, tuple(map(new, s.operands)), s.params) for s in self.steps)

    def operations(self, arguments: Sequence[Shape]) -> int:
        """How many values its steps compute or sum up; a move is one too."""
        shapes = self.shapes(arguments)
        total = 0
        for i, step in enumerate(self.steps):
            reads = [prod(shapes[v]) for v in step.operands]
            written = prod(shapes[f"t{i}"])
            if step.op == "matmul":
                total += written * shapes[step.operands[0]][-1]
            else:
                total += (
                    max([written, *reads]) if primitive(step.op).kind is Kind.REDUCE else written
                )
        return total
