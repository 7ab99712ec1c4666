"""A plan's kernels by substitution: which counts of a kernel are which counts of a plan."""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from operator import itemgetter
from typing import Any

from bnn_compiler.errors import PlanError
from bnn_compiler.kernels.task import Task
from bnn_compiler.latency.dims import Layer, Point, Polynomial, polynomial, size, value
from bnn_compiler.latency.dims import groups as groups_of
from bnn_compiler.latency.groups import Groups
from bnn_compiler.latency.kernel import Kernel
from bnn_compiler.latency.substitute import Substitution
from bnn_compiler.ops.epilogue import Epilogue

#: Steps that add a tensor of fewer channels, and what they are where it has as many or more.
_FEWER = {"add_tile": "add", "add_pad": "add", "add_avg2_tile": "add_avg2"}

_WEIGHTS = "what is fused here depends on the weights that are kept"


class Recipe:
    """One kernel of every plan of a structure: ``terms`` are its sizes."""

    def __init__(self, kernel: Kernel, terms: Sequence[Polynomial]) -> None:
        self.kernel, self.terms = kernel, tuple(terms)
        #: What table.py finds of it, and one kernel of each class.
        self.steps: dict[Polynomial, int] | None = None
        self.of_class: dict[bytes, Kernel] = {}
        self.positions = tuple(sorted({p for t in terms for factors, _ in t for p in factors}))
        self.key = _getter(self.positions)
        self._distinct = tuple(dict.fromkeys(terms))
        self._places = [self._distinct.index(t) for t in terms]
        self.make = Substitution(kernel, terms)
        #: The group count of a convolution, where the plan sets it.
        self.groups = next(
            (
                term
                for term, (place, _) in zip(terms, self.make.counts, strict=True)
                if place == "groups" and any(factors for factors, _ in term)
                if all(
                    t != term
                    for t, (p, _) in zip(terms, self.make.counts, strict=True)
                    if p == "size"
                )
            ),
            None,
        )
        self._made: dict[Any, Kernel] = {}
        #: (step, channels of its tensor, channels of the value) where those decide its kind.
        self._fewer = [
            (i, terms[self.make.tensor_channels(s.operands[0])], terms[self.make.value_channels])
            for i, s in enumerate(kernel.task.epilogue.steps)
            if s.kind in _FEWER
        ]
        self._epilogues: dict[tuple[bool, ...], Epilogue] = {}

    def at(self, point: Point) -> Kernel:
        """The kernel of a plan; kernels of equal counts are made once."""
        key = self.key(point)
        found = self._made.get(key)
        if found is None:
            found = self._made[key] = self._kernel(point, self._short(point))
        return found

    def _short(self, point: Point) -> tuple[bool, ...]:
        """Of each shortcut whose kind depends on it: whether it has fewer channels."""
        if not self._fewer:
            return ()
        return tuple([value(t, point) < value(v, point) for _, t, v in self._fewer])

    def _kernel(self, point: Point, short: tuple[bool, ...]) -> Kernel:
        numbers = [value(t, point) for t in self._distinct]
        sizes = [numbers[i] for i in self._places]
        return self.make(sizes, self._epilogue(short) if short else None)

    def _epilogue(self, short: tuple[bool, ...]) -> Epilogue:
        """With each shortcut added as its channels and the value's demand."""
        if short not in self._epilogues:
            epilogue = self.kernel.task.epilogue
            steps = list(epilogue.steps)
            for (at, *_), fewer in zip(self._fewer, short, strict=True):
                if not fewer:
                    steps[at] = replace(steps[at], kind=_FEWER[steps[at].kind])
            self._epilogues[short] = replace(epilogue, steps=tuple(steps))
        return self._epilogues[short]


def _getter(places: Sequence[int]) -> Callable[[Point], Any]:
    return itemgetter(*places) if places else lambda _: ()


class Template:
    """The kernels of all plans of one structure, from those of a plan whose counts tell apart.

    ``evaluate`` gives a plan's kernels by the compiler's front half. A plan is derived if two
    evaluations that agree with the template lie around it, group by group: what fusion decides by
    weights it decides by whether some channel, or every channel, has a property. If not, the plan
    is evaluated itself, once.
    """

    def __init__(
        self,
        decoder: "Decoder",
        probe: Point,
        evaluate: Callable[[Point], tuple[Kernel, ...]],
    ) -> None:
        self._groups, self._evaluate = decoder.groups, evaluate
        self._agreed = [self._inside(probe)]
        self.recipes = tuple(decoder.recipe(k) for k in evaluate(probe))
        #: Whether a plan between two evaluations is derived.
        self.believed = True

    def _inside(self, point: Point) -> Point:
        """The counts whose weights an evaluation has seen."""
        n = len(self._groups.sizes)
        return tuple(min(a, b) for a, b in zip(point[:n], self._groups.full, strict=False))

    def covers(self, point: Point) -> bool:
        """Whether evaluations that agree lie around a plan."""
        below = above = False
        for seen in self._agreed:
            below = below or all(map(int.__le__, seen, point))
            above = above or all(map(int.__ge__, seen, point))
        return below and above and self.believed

    def agree(self, point: Point) -> str:
        """Evaluate a plan: "", or what in it differs from what would be derived."""
        wanted, derived = self._evaluate(point), self.kernels(point)
        for a, b in zip(wanted, derived, strict=False):
            if a != b:
                return f"{a.name}: {_difference(b, a)}; {_cause(a)}"
        if len(wanted) != len(derived):
            return f"{len(wanted)} kernels instead of {len(derived)}; {_WEIGHTS}"
        self._agreed.append(self._inside(point))
        return ""

    def admit(self, point: Point) -> None:
        """Raise PlanError for a plan whose kernels are not those that would be derived."""
        if self.covers(point):
            return
        why = self.agree(point)
        if why:
            raise PlanError(
                f"the plan leaves its template: {why}"
                " (compile the cropped network to know its kernels)"
            )

    def kernels(self, point: Point) -> tuple[Kernel, ...]:
        """The kernels of a plan, in order."""
        return tuple([r.at(point) for r in self.recipes])


def _difference(a: Kernel, b: Kernel) -> str:
    if a.op != b.op:
        return f"{b.op} instead of {a.op}"
    if a.op == "general":
        return f"not {b.what}"
    if a.task.epilogue != b.task.epilogue:
        return f"epilogue {b.task.epilogue.attrs()} instead of {a.task.epilogue.attrs()}"
    return f"{b.task} instead of {a.task}"


def _cause(kernel: Kernel) -> str:
    general = kernel.op == "general"
    return "sizes in its program change with the plan" if general else _WEIGHTS


def plain(path: str) -> str:
    """A module's path as kernels bear it."""
    return re.sub(r"[^A-Za-z0-9]+", "_", path)


class Decoder:
    """Which polynomial of a plan's counts each number of a kernel is.

    ``same`` are the positions that are equal in all plans. ``ambiguous`` if two sizes of the
    network are one number in ``probe``.
    """

    def __init__(self, groups: Groups, probe: Point, same: frozenset[int]) -> None:
        self.groups, self.same = groups, same
        self.batch = probe[groups.batch]
        self.terms: dict[int, Polynomial] = {}
        self.ambiguous = False
        numbers = set[int]()
        for term in terms(groups):
            short = _without(term, same, probe)
            number = value(short, probe)
            if short == (((groups.batch,), 1),):
                # Found by its place, the first of a shape.
                continue
            if not any(factors for factors, _ in short):
                numbers.add(number)
            elif self.terms.setdefault(number, short) != short:
                self.ambiguous = True
        self.ambiguous |= bool(numbers & set(self.terms))
        self.probe = probe

    def recipe(self, kernel: Kernel) -> Recipe:
        """The kernel with each of its numbers named; what is no size of the plan stays."""
        return Recipe(kernel, [self._term(kernel, *c) for c in Substitution(kernel).counts])

    def _term(self, kernel: Kernel, place: str, number: int) -> Polynomial:
        if place == "batch" and number == self.batch and self.groups.batch not in self.same:
            return (((self.groups.batch,), 1),)
        layer = self._layer(kernel) if place == "groups" else None
        if layer is not None:
            own = polynomial(layer.inputs) if layer.depthwise else None
            return own or (((layer.position,), 1),)
        return (((), number),) if place == "groups" else self.terms.get(number, (((), number),))

    def _layer(self, kernel: Kernel) -> Layer | None:
        """The convolution that a kernel computes: of its name, channels and groups."""
        work = kernel.task.work
        if not isinstance(kernel.task, Task) or work is None:
            return None
        counts = (work.x.shape[3], work.shape[3], work.groups)
        found = [
            layer
            for layer in self.groups.layers
            if layer.convolution
            # A module's second value has a number behind its name.
            and kernel.name.startswith(name := plain(layer.path or layer.node))
            and not kernel.name.removeprefix(name).strip("0123456789")
            and counts
            == (
                size(layer.inputs, self.probe),
                size(layer.outputs, self.probe),
                groups_of(layer, self.probe),
            )
        ]
        return max(found, key=lambda layer: len(layer.path), default=None)


def terms(groups: Groups) -> set[Polynomial]:
    """The sizes of all tensors of a network."""
    found = set[Polynomial]()
    for dims in _each(groups.values.values()):
        term = polynomial(dims)
        if term is not None:
            found.add(term)
    return found


def _each(values: Iterable[Any]) -> Iterator[Any]:
    for v in values:
        if isinstance(v, list | tuple):
            yield from _each(v)
        elif v is not None:
            yield v


def _without(term: Polynomial, same: frozenset[int], probe: Point) -> Polynomial:
    """A polynomial with the positions ``same`` as numbers."""
    found: dict[tuple[int, ...], int] = {}
    for factors, coefficient in term:
        for p in factors:
            coefficient *= probe[p] if p in same else 1
        left = tuple(p for p in factors if p not in same)
        found[left] = found.get(left, 0) + coefficient
    return tuple(sorted(found.items()))
