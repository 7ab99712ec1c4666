"""The kernels of many plans at once: those that take the same time are made once."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bnn_compiler.kernels.layout import LANES
from bnn_compiler.latency.dims import Point, Polynomial, value
from bnn_compiler.latency.kernel import Kernel
from bnn_compiler.latency.substitute import Substitution
from bnn_compiler.latency.template import Recipe, Template

Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Table:
    """Plans of one structure: call j of plan ``rows[i]`` takes the time of ``kernels[at[i, j]]``,
    which is its kernel, or one that is equal on whole vectors (``Kernel.whole``).
    """

    rows: Integers
    kernels: list[Kernel]
    at: Integers

    @staticmethod
    def of(template: Template, rows: Sequence[int], points: Sequence[Point]) -> "Table":
        """Of plans that ``template`` admits."""
        counts = np.array(points, np.int64)
        kernels: list[Kernel] = []
        columns = []
        for recipe in template.recipes:
            names, first, which = _classes(recipe, counts)
            columns.append(which + len(kernels))
            # One object for one class, so that a model need not compare kernels to know them.
            of_class = recipe.of_class
            for name, i in zip(names, first, strict=True):
                if name not in of_class:
                    of_class[name] = recipe.at(points[i])
                kernels.append(of_class[name])
        return Table(np.array(rows, np.int64), kernels, np.stack(columns, axis=1))


def _classes(recipe: Recipe, counts: Integers) -> tuple[list[bytes], list[int], Integers]:
    """The classes of equal time: their names, the first plan of each, and the one of each plan."""
    sizes = []
    groups = recipe.groups
    alone = None if groups is None else _column(groups, counts) == 1
    for term, step in steps(recipe).items():
        exact = _column(term, counts)
        filled = -(-exact // step)
        # What has groups is exact.
        sizes.append(filled if alone is None or term == groups else np.where(alone, filled, exact))
    if not sizes:
        return [b""], [0], np.zeros(len(counts), np.int64)
    table = np.stack(sizes, axis=1)
    key = np.zeros(len(counts), np.int64)
    for column in table.T:
        # Numbered anew for each column, so that nothing overflows.
        key = np.unique(key * (column.max() + 1) + column, return_inverse=True)[1]
    _, first, which = np.unique(key, return_index=True, return_inverse=True)
    return [row.tobytes() for row in table[first]], first.tolist(), which


def _column(term: Polynomial, counts: Integers) -> Integers:
    """A size in each plan [n]."""
    return np.asarray(value(term, counts.T), np.int64)  # type: ignore[arg-type]


def steps(recipe: Recipe) -> dict[Polynomial, int]:
    """Each size of a kernel that depends on the plan, and by how much it grows until time does.

    Of a convolution whose group count depends on the plan, where that is 1.
    """
    if recipe.steps is None:
        free = [t for t in dict.fromkeys(recipe.terms) if any(factors for factors, _ in t)]
        # Numbers that are no whole words or vectors, equal where the terms are.
        number = {t: 32 * i + 17 for i, t in enumerate(free)}
        if recipe.groups is not None:
            number[recipe.groups] = 1
        kernel = recipe.make([number[t] if t in number else value(t, ()) for t in recipe.terms])
        own, whole = (Substitution(k).counts for k in (kernel, kernel.whole()))
        found: dict[Polynomial, int] = {}
        for term, (_, there), (_, filled) in zip(recipe.terms, own, whole, strict=True):
            if term in number:
                found[term] = min(found.get(term, LANES), LANES if filled != there else 1)
        recipe.steps = found
    return recipe.steps
