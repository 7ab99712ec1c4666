"""A general program whose reduced axes are one, where they lie side by side."""

from collections.abc import Sequence
from dataclasses import replace
from math import prod

from bnn_compiler.ops.general import Program, Shape, Step, primitive
from bnn_compiler.ops.primitives import Kind

_OVER_AXES = ("sum", "prod", "reduce_max", "reduce_min")


def merged(program: Program, arguments: Sequence[Shape]) -> tuple[Program, list[Shape]]:
    """The same values of arguments of other shapes: a kernel then counts elements, not indices.

        sum(a0;[1,2,3]) of [N, C, H, W]  ->  sum(a0;[1]) of [N, CHW]

    What else is in front of the reduction must be element by element; if anything does not fit,
    the program stays.
    """
    shapes = program.shapes(arguments)
    for i, step in enumerate(program.steps):
        if step.op in _OVER_AXES:
            found = _merged(program, i, shapes)
            if found is not None:
                new, changed = found
                return new, [changed.get(f"a{k}", s) for k, s in enumerate(arguments)]
    return program, list(arguments)


def _merged(
    program: Program, at: int, shapes: dict[str, Shape]
) -> tuple[Program, dict[str, Shape]] | None:
    step = program.steps[at]
    whole, (axes,) = shapes[step.operands[0]], step.params
    count = len(axes)
    first = len(whole) - count
    before = _before(program, at)
    steps = [program.steps[int(name[1:])] for name in before if name[0] == "t"]
    if count < 2 or list(axes) != list(range(first, len(whole))):
        return None
    if any(primitive(s.op).kind is not Kind.MAP for s in steps):
        return None
    after = [s for i, s in enumerate(program.steps) if f"t{i}" not in before and i != at]
    if any(shapes[name] for s in after for name in s.operands if name in before):
        return None
    changed = {}
    for name in before:
        shape = shapes[name]
        tail = shape[-count:]
        if name[0] == "a" and shape:
            if tail != whole[first:] and prod(tail) != 1:
                return None
            changed[name] = (*shape[:-count], prod(tail))
    new = replace(step, params=((first,),))
    return Program((*program.steps[:at], new, *program.steps[at + 1 :])), changed


def _before(program: Program, at: int) -> set[str]:
    """The names of the values that a step is made of."""
    waiting, found = list(program.steps[at].operands), set[str]()
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            step = program.steps[int(name[1:])] if name[0] == "t" else Step("", ())
            waiting += step.operands
    return found
