"""Dimensions as terms: which move together, and what a tensor's size is where groups are smaller.

A dimension is a group of channels, the batch, fixed, a sum of others (a concatenation) or a product
of others (a flatten, elements in the framework's order). What two operators say of one dimension
is unified; where two terms do not fit, everything in them is fixed, never guessed.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import partial

import numpy as np
from numpy.typing import NDArray

#: Counts by position: those of the groups, then the batch, then groups of grouped convolutions.
Point = tuple[int, ...]
Index = NDArray[np.int64]


class Kind(Enum):
    """What a dimension is; FREE is a group of channels, COLUMNS the inputs that weights have."""

    FREE = "free"
    BATCH = "batch"
    FIXED = "fixed"
    SUM = "sum"
    PRODUCT = "product"
    COLUMNS = "columns"


@dataclass(eq=False)
class Dim:
    """One dimension of ``size`` elements in the full network.

    ``parts`` are of a sum or product, ``layer`` of columns. ``constant`` if only parameters have
    it so far: then a reshape may split it. ``position`` is that of its count in a Point.
    """

    size: int
    kind: Kind = Kind.FREE
    parts: tuple["Dim", ...] = ()
    layer: "Layer | None" = None
    constant: bool = False
    position: int = -1
    parent: "Dim | None" = None


@dataclass(eq=False)
class Layer:
    """A convolution or linear layer: ``path`` of its module, ``node`` in the traced graph.

    ``depthwise`` if it has one input channel a group: its groups then follow its channels.
    ``locked`` if its weights serve something else too, so that its groups cannot change.
    """

    path: str
    node: str
    inputs: Dim
    outputs: Dim
    groups: int = 1
    taps: int = 1
    convolution: bool = True
    locked: bool = False
    position: int = -1

    @property
    def depthwise(self) -> bool:
        """Whether each group has one input channel."""
        return self.groups > 1 and self.groups == self.inputs.size


def fixed(size: int) -> Dim:
    """A dimension that no plan changes."""
    return Dim(size, Kind.FIXED)


def find(dim: Dim) -> Dim:
    """The dimension that stands for all that were unified with ``dim``."""
    while dim.parent is not None:
        if dim.parent.parent is not None:
            dim.parent = dim.parent.parent
        dim = dim.parent
    return dim


def pin(dim: Dim) -> None:
    """Nothing in ``dim`` changes."""
    d = find(dim)
    if d.kind is Kind.FIXED:
        return
    parts, layer = d.parts, d.layer
    d.kind, d.parts, d.layer = Kind.FIXED, (), None
    for part in parts:
        pin(part)
    if layer is not None:
        layer.locked = True
        pin(layer.inputs)


def unify(a: Dim, b: Dim) -> None:
    """``a`` and ``b`` have the same size in every plan."""
    a, b = find(a), find(b)
    if a is b or a.size == b.size == 1:
        return
    if b.kind is Kind.FREE:
        a, b = b, a
    if a.size != b.size:
        pin(a)
        pin(b)
    elif a.kind is Kind.FREE:
        if holds(b, a):
            pin(b)
        else:
            a.parent, b.constant = b, a.constant and b.constant
    elif Kind.COLUMNS in (a.kind, b.kind):
        _unify_columns(a, b)
    else:
        _unify_parts(a, b)


def _unify_parts(a: Dim, b: Dim) -> None:
    """Two batches are one; sums, or products, of equal parts are equal part by part."""
    parts = flat(a), flat(b)
    equal = [p.size for p in parts[0]] == [p.size for p in parts[1]]
    if a.kind is b.kind is Kind.BATCH:
        a.parent = b
    elif a.kind is b.kind and a.kind in (Kind.SUM, Kind.PRODUCT) and equal:
        a.parent = b
        for x, y in zip(*parts, strict=True):
            unify(x, y)
    else:
        pin(a)
        pin(b)


def _unify_columns(a: Dim, b: Dim) -> None:
    """Columns of a dense layer are its inputs; those of grouped ones are fixed when shared."""
    for d in (a, b):
        if d.layer is not None:
            layer, d.layer = d.layer, None
            layer.locked = True
            if layer.groups == 1:
                d.kind, d.parent = Kind.FREE, layer.inputs
            else:
                d.kind = Kind.FIXED
                pin(layer.inputs)
    unify(a, b)


def holds(term: Dim, leaf: Dim) -> bool:
    """Whether the size of ``term`` depends on that of ``leaf``."""
    d = find(term)
    if d.layer is not None:
        return holds(d.layer.inputs, leaf)
    return d is find(leaf) or any(holds(p, leaf) for p in d.parts)


def flat(dim: Dim) -> list[Dim]:
    """The parts of a sum of sums, or of a product of products; a dimension of size 1 has none."""
    d = find(dim)
    if d.size == 1 and d.kind is not Kind.COLUMNS:
        return []
    if d.kind not in (Kind.SUM, Kind.PRODUCT):
        return [d]
    parts = [p for part in d.parts for p in (flat(part) if find(part).kind is d.kind else [part])]
    return [find(p) for p in parts if find(p).size > 1]


def total(parts: Sequence[Dim]) -> Dim:
    """The concatenation of ``parts``."""
    return parts[0] if len(parts) == 1 else Dim(sum(p.size for p in parts), Kind.SUM, tuple(parts))


def product(parts: Sequence[Dim]) -> Dim:
    """The elements of ``parts``, the last one fastest."""
    if len(parts) == 1:
        return parts[0]
    return Dim(int(np.prod([p.size for p in parts])), Kind.PRODUCT, tuple(parts))


def axes(dim: Dim) -> list[Dim]:
    """What ``dim`` is a product of."""
    d = find(dim)
    return flat(d) if d.kind is Kind.PRODUCT or d.size == 1 else [d]


def regroup(parts: Sequence[Dim], sizes: Sequence[int]) -> list[Dim] | None:
    """The dimensions of ``sizes`` that a reshape makes of axes; None if one would have to split.

    An axis of parameters alone is split.
    """
    left = [a for p in parts for a in axes(p)]
    found = []
    for size in sizes:
        taken: list[Dim] = []
        wanted = size
        while wanted > 1:
            if not left:
                return None
            axis = left.pop(0)
            if wanted % axis.size:
                if axis.size % wanted or not (axis.kind is Kind.FREE and axis.constant):
                    return None
                halves = tuple(Dim(s, constant=True) for s in (wanted, axis.size // wanted))
                axis.kind, axis.parts = Kind.PRODUCT, halves
                axis, rest = halves
                left.insert(0, rest)
            taken.append(axis)
            wanted //= axis.size
        found.append(product(taken) if taken else fixed(1))
    return None if left else found


def leaves(dim: Dim) -> list[Dim]:
    """The groups that a dimension is made of."""
    d = find(dim)
    if d.kind is Kind.FREE:
        return [d]
    return [leaf for p in d.parts for leaf in leaves(p)]


# ---- sizes and elements in a plan


def size(dim: Dim, point: Point) -> int:
    """How many elements ``dim`` has."""
    d = find(dim)
    if d.kind is Kind.FIXED:
        return d.size
    if d.kind in (Kind.FREE, Kind.BATCH):
        return point[d.position]
    if d.kind is Kind.SUM:
        return sum(size(p, point) for p in d.parts)
    if d.kind is Kind.PRODUCT:
        return int(np.prod([size(p, point) for p in d.parts]))
    assert d.layer is not None
    return size(d.layer.inputs, point) // groups(d.layer, point)


def groups(layer: Layer, point: Point) -> int:
    """The group count of ``layer``."""
    if layer.depthwise:
        return size(layer.inputs, point)
    return point[layer.position] if layer.position >= 0 else layer.groups


def index(dim: Dim, point: Point) -> Index:
    """Where the elements of ``dim`` lie in the full network; beyond its end they repeat."""
    d = find(dim)
    if d.kind in (Kind.FREE, Kind.BATCH):
        return np.arange(point[d.position]) % d.size
    if d.kind is Kind.SUM:
        starts = np.cumsum([0, *(find(p).size for p in d.parts)])
        return np.concatenate(
            [start + index(p, point) for start, p in zip(starts, d.parts, strict=False)]
        )
    if d.kind is Kind.PRODUCT:
        found = np.zeros(1, np.int64)
        for part in d.parts:
            found = (found[:, None] * find(part).size + index(part, point)).reshape(-1)
        return found
    return np.arange(size(d, point))


# ---- sizes as polynomials of the counts

Polynomial = tuple[tuple[tuple[int, ...], int], ...]


def polynomial(dim: Dim) -> Polynomial | None:
    """((positions of the factors, coefficient), ...), sorted; None with columns in it."""
    d = find(dim)
    if d.kind is Kind.FIXED:
        return (((), d.size),)
    if d.kind in (Kind.FREE, Kind.BATCH):
        return (((d.position,), 1),)
    terms = [polynomial(p) for p in d.parts]
    found: dict[tuple[int, ...], int] = {}
    if d.kind is Kind.COLUMNS or any(t is None for t in terms):
        return None
    if d.kind is Kind.SUM:
        for term in terms:
            for factors, c in term or ():
                found[factors] = found.get(factors, 0) + c
    else:
        found[()] = 1
        for term in terms:
            before, found = found, {}
            for factors, c in before.items():
                for more, d_ in term or ():
                    key = tuple(sorted(factors + more))
                    found[key] = found.get(key, 0) + c * d_
    return tuple(sorted(found.items()))


def value(polynomial: Polynomial, point: Point) -> int:
    """What a polynomial is at ``point``."""
    result = 0
    for factors, coefficient in polynomial:
        for position in factors:
            coefficient *= point[position]
        result += coefficient
    return result


def sizer(dim: Dim) -> Callable[[Point], int]:
    """``size`` of one dimension at many points: sums of sums are added up once."""
    d, term = find(dim), polynomial(dim)
    if term is not None:
        return partial(value, term)
    if d.kind is Kind.COLUMNS and d.layer is not None:
        layer, inputs = d.layer, sizer(d.layer.inputs)
        return lambda point: inputs(point) // groups(layer, point)
    return partial(size, d)
