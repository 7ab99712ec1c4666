"""What a general program computes, in simple operations on one float32 value."""

from collections import Counter
from collections.abc import Mapping, Sequence
from math import prod

from bnn_compiler.ops.functions import FUNCTIONS
from bnn_compiler.ops.general import Program, Shape, Step, primitive
from bnn_compiler.ops.primitives import Kind

#: What an element costs, in simple operations; any other primitive is one.
_COST = {**dict.fromkeys(FUNCTIONS, 16), "div": 4}


def work(program: Program, arguments: Sequence[Shape], apart: int = 1) -> int:
    """Operations of one kernel, where every step is computed anew wherever it is read.

    An element that does not lie beside the one before it costs ``apart``.
    """
    shapes = program.shapes(arguments)
    times: Counter[str] = Counter({program.result: prod(shapes[program.result])})
    total = 0
    for i in reversed(range(len(program.steps))):
        step, count = program.steps[i], times[f"t{i}"]
        count *= _terms(step, shapes)
        total += count * (apart if is_gather(step, shapes) else _COST.get(step.op, 1))
        times.update(dict.fromkeys(step.operands, 0))
        for operand in step.operands:
            times[operand] += count
    return total


def is_gather(step: Step, shapes: Mapping[str, Shape]) -> bool:
    """Whether a move takes elements of a row from places that do not lie side by side."""
    if primitive(step.op).kind is not Kind.MOVE:
        return False
    shape = shapes[step.operands[0]]
    last = len(shape) - 1
    if step.op == "permute":
        # Axes of 1 do not count.
        left = [a for a in step.params[0] if shape[a] != 1]
        return bool(left) and left[-1] != max(left)
    if step.op == "slice":
        return bool(shape) and step.params[1][last] != 1
    return step.op == "take" and step.params[0] == last


def _terms(step: Step, shapes: Mapping[str, Shape]) -> int:
    """Elements of an operand that an element of a step's value is made of."""
    if primitive(step.op).kind is not Kind.REDUCE:
        return 1
    shape = shapes[step.operands[0]]
    if step.op == "matmul":
        return shape[-1]
    axes = step.params[0] if isinstance(step.params[0], tuple) else (step.params[0],)
    return prod(shape[a] for a in axes)
