"""Which plans share a template: everything a plan's counts decide in the front half but sizes."""

from collections.abc import Iterator, Sequence
from itertools import islice
from math import lcm

import tvm
from torch.fx import Node

from bnn_compiler.frontend.pytorch.trace import op_name
from bnn_compiler.kernels.layout import LANES
from bnn_compiler.latency.dims import (
    Dim,
    Kind,
    Layer,
    Point,
    Polynomial,
    find,
    groups,
    leaves,
    polynomial,
    size,
    sizer,
    value,
)
from bnn_compiler.latency.groups import Groups
from bnn_compiler.latency.kernel import Kernel
from bnn_compiler.latency.take import take
from bnn_compiler.latency.template import plain
from bnn_compiler.ops import relax_ops as ops
from bnn_compiler.ops.graph import Graph

Key = tuple[object, ...]

#: Counts of a probe: no fixed size is likely to be one, and none means a dense layout.
_PRIMES = [p for p in range(LANES + 1, 1500) if all(p % q for q in range(2, 39) if q < p)]
#: passes/atoms.py asks whether a sum has fewer terms.
_FEW = 8


class Structure:
    """What is decided by counts, for the network of ``found``.

    - a group of one channel, and a batch of one: torch then broadcasts, and a scalar is a vector
    - a dense layout below 16 channels (plan/plan.py), where a matrix becomes an image: the counts
    - one group or several: of a convolution in front of a concatenation (MergeDuplicatedConv), and
      of one that reads an input (ByteInput, FilterStridedConv)
    - one weight an output, of a float 1x1 convolution of signs: any such weights are binary
    - whether any weight that is kept is exactly 0 (BinarizeConv)
    - with ``careful``, how many terms each sum has: odd or even, and few (passes/atoms.py)

    ``module`` is the full network as imported, ``kernels`` are its kernels. ``counted`` if a sign
    leaves 0 at 0, so that it matters which sums can be 0.
    """

    def __init__(self, found: Groups, module: tvm.IRModule, kernels: Sequence[Kernel]) -> None:
        self.found, self.careful = found, False
        graph = Graph.of(module)
        on_signs = _convolutions_of_signs(graph) & {
            k.name for k in kernels if k.op == "float_conv2d"
        }
        signs = [v for v in graph.values.values() if ops.is_op(v, "relax.bnn.sign")]
        self.counted = any(int(v.attrs["zero"]) == 0 for v in signs)
        convolutions = [layer for layer in found.layers if layer.convolution]
        moved = sum(k.op == "to_nhwc" for k in kernels)
        self._convolutions = convolutions
        self._kinds = [c for c in convolutions if c.position >= 0 and _sensitive(found, c)]
        self._lone = [c for c in convolutions if c.taps == 1 and plain(c.path) in on_signs]
        self._dense = _moved(found) if moved > len(found.inputs(found.full)) else []
        self._zeros = _with_zeros(found)
        self._sizers = {n: [sizer(d) for d in dims] for n, dims in self._zeros.items()}
        self._has_zero: dict[Key, bool] = {}

    def key(self, point: Point) -> Key:
        """Equal for plans of one structure."""
        return *self._shape_key(point), *self.zeros(point).values()

    def _shape_key(self, point: Point) -> Key:
        """Without what the weights decide."""
        key: list[object] = [(i, point[i]) for i in self._small(point)]
        key.append(point[self.found.batch] == 1)
        key += [_dense(layer, point) for layer in self._kinds]
        key += [_fan_in(layer, point) == 1 for layer in self._lone]
        if self.careful:
            sums = [_fan_in(layer, point) for layer in self._convolutions]
            key += [(s % 2, s < _FEW) for s in sums]
        return tuple(key)

    def _small(self, point: Point) -> list[int]:
        """The positions of groups so small that their counts themselves decide something."""
        counts, least = point[: len(self.found.sizes)], _FEW if self.careful else 2
        small = [i for i, c in enumerate(counts) if c < least] if min(counts) < least else []
        for term in self._dense:
            if value(term, point) < LANES:
                small += [p for factors, _ in term for p in factors if p < len(counts)]
        return sorted(set(small))

    def zeros(self, point: Point) -> dict[str, bool]:
        """Of the constants that have zeros, whether the part that is kept has any."""
        found = {}
        for name, dims in self._zeros.items():
            sizes = [size_at(point) for size_at in self._sizers[name]]
            key = (name, *sizes, *point[self.found.batch + 1 :])
            if key not in self._has_zero:
                kept = take(self.found.traced.constants[name], dims, point)
                self._has_zero[key] = bool((kept == 0).any())
            found[name] = self._has_zero[key]
        return found

    def same(self, point: Point) -> frozenset[int]:
        """The positions whose counts all plans of this structure share."""
        batch = self.found.batch
        return frozenset([*self._small(point), *([batch] if point[batch] == 1 else [])])

    def divides(self, point: Point) -> bool:
        """Whether the groups of every convolution divide its channels."""
        return all(
            size(d, point) % groups(layer, point) == 0
            for layer in self._convolutions
            for d in (layer.inputs, layer.outputs)
        )

    # ---- plans of a structure

    def probes(self, point: Point) -> Iterator[Point]:
        """Plans of the structure of ``point`` by whose counts groups can be told apart."""
        yield from self._probes(point, self._order(1))

    def reversed_probes(self, point: Point) -> Iterator[Point]:
        """Others, where shortcuts between untied channels have more of them, not fewer."""
        return self._probes(point, self._order(-1)) if self.found.cuts else iter(())

    def _order(self, way: int) -> list[int]:
        """The positions of the groups from few channels to many.

        What a shortcut only cuts has more channels than what is left; what it can repeat or pad
        has fewer, or more if ``way`` is -1.
        """
        n = len(self.found.sizes)
        below: list[set[int]] = [set() for _ in range(n)]
        for cut in sorted(self.found.cuts.values(), key=lambda c: c.grows):
            source, target = find(cut.source), find(cut.target)
            if Kind.FREE is source.kind is target.kind and source is not target:
                few, many = source.position, target.position
                if not cut.grows or way < 0:
                    few, many = many, few
                if many not in _reached(below, few):
                    below[many].add(few)
        order: list[int] = []
        for position in range(n)[::way]:
            _after(below, position, order)
        return order

    def _probes(self, point: Point, order: Sequence[int]) -> Iterator[Point]:
        n = len(order)
        for first in range(0, 3 * n + 3, n + 1):
            ranked = dict(zip(order, _PRIMES[first : first + n], strict=True))
            primes = [ranked[i] for i in range(n)]
            for even in ([True] * n, [False] * n, [c % 2 == 0 for c in point[:n]]):
                counts = [2 * p if e else p for p, e in zip(primes, even, strict=True)]
                for several in (2, 1):
                    yield from self._alike(point, counts, several)

    def ends(self, point: Point) -> list[Point]:
        """Plans of that structure around all or most others: the smallest and the largest."""
        n = len(self.found.sizes)
        small = (p for least in (2, 3, 4) for p in self._alike(point, [least] * n, 1))
        return [*islice(small, 1), *self._alike(point, self.found.full[:n], 0)]

    def _alike(self, point: Point, counts: Sequence[int], several: int) -> Iterator[Point]:
        """The plan of these counts, if it has the structure of ``point``.

        Convolutions get ``several`` groups where that divides their channels, 0 the full network's.
        """
        n, batch = len(self.found.sizes), self.found.full[self.found.batch]
        batch = 1 if point[self.found.batch] == 1 else max(batch, 2)
        small = self._small(point)
        made = [point[i] if i in small else c for i, c in enumerate(counts)]
        for layer in self._kinds:
            if groups(layer, point) > 1:
                # An image's channels are what they are, and so are the groups that divide them.
                unit = point[layer.position] if find(layer.inputs).kind is Kind.FIXED else 2
                for leaf in [*leaves(layer.inputs), *leaves(layer.outputs)]:
                    made[leaf.position] = lcm(made[leaf.position], unit)
        made = [*self._uncut(made, (batch, *point[n + 1 :])), batch, *point[n + 1 :]]
        for layer in self._convolutions:
            if layer.position < 0:
                continue
            for option in (several or layer.groups, point[layer.position], 2, 1):
                made[layer.position] = option
                ends = (layer.inputs, layer.outputs)
                fits = all(size(d, tuple(made)) % option == 0 for d in ends)
                if fits and not (layer in self._kinds and (option == 1) != _dense(layer, point)):
                    break
        result = tuple(made)
        if self.divides(result) and self._shape_key(result) == self._shape_key(point):
            yield result

    def _uncut(self, counts: list[int], rest: Point) -> list[int]:
        """``counts`` with at least as many as every cut that cannot repeat or pad them keeps."""
        for cut in self.found.cuts.values():
            source = find(cut.source)
            if not cut.grows and source.kind is Kind.FREE:
                kept = size(cut.target, (*counts, *rest))
                counts[source.position] = max(counts[source.position], kept)
        return counts


def _reached(below: Sequence[set[int]], start: int) -> set[int]:
    """Everything that is below ``start``, itself too."""
    found, waiting = {start}, [start]
    while waiting:
        new = below[waiting.pop()] - found
        found |= new
        waiting += new
    return found


def _after(below: Sequence[set[int]], position: int, order: list[int]) -> None:
    """Put ``position`` into ``order``, behind all that is below it."""
    if position not in order:
        for one in sorted(below[position]):
            _after(below, one, order)
        order.append(position)


def _dense(layer: Layer, point: Point) -> bool:
    return groups(layer, point) == 1


def _fan_in(layer: Layer, point: Point) -> int:
    return size(layer.inputs, point) // groups(layer, point) * layer.taps


def _convolutions_of_signs(graph: Graph) -> set[str]:
    """The names of the convolutions that read a sign."""
    found = set()
    for var, call in graph.values.items():
        if ops.is_op(call, "relax.nn.conv2d"):
            source = graph.value(call.args[0])
            while source is not None and ops.is_op(source, "relax.nn.pad"):
                source = graph.value(source.args[0])
            if source is not None and ops.is_op(source, "relax.bnn.sign"):
                found.add(var.name)
    return found


def _sensitive(found: Groups, layer: Layer) -> bool:
    """Whether a pass asks for the groups of this convolution."""
    node = next(n for n in found.values if n.name == layer.node)
    source = node.args[0]
    if isinstance(source, Node) and source.op == "placeholder":
        return True
    return _reaches_concat(node, 4)


def _reaches_concat(node: Node, steps: int) -> bool:
    affine = ("batch_norm", "_native_batch_norm_legit_no_training", "getitem", "mul", "add", "div")
    for user in node.users:
        if op_name(user) == "cat":
            return True
        if op_name(user) in affine and steps and _reaches_concat(user, steps - 1):
            return True
    return False


def _moved(found: Groups) -> list[Polynomial]:
    """The channels that a reshape may give an image or a vector."""
    terms = set()
    for node, dims in found.values.items():
        if op_name(node) in ("view", "reshape", "_unsafe_view", "flatten") and _is_moving(dims):
            term = polynomial(dims[1])  # type: ignore[index]
            if term is not None and any(factors for factors, _ in term):
                terms.add(term)
    return sorted(terms)


def _is_moving(dims: object) -> bool:
    return isinstance(dims, list) and len(dims) in (2, 4)


def _with_zeros(found: Groups) -> dict[str, list[Dim]]:
    """Weights with exact zeros that a plan may leave out."""
    result = {}
    for node, dims in found.values.items():
        if node.op != "get_attr" or not isinstance(dims, list):
            continue
        tensor = found.traced.constants[str(node.target)]
        matrix = sum(d.size > 1 for d in dims) > 1 and tensor.is_floating_point()
        free = any(find(d).kind is not Kind.FIXED for d in dims)
        if matrix and free and bool((tensor == 0).any()):
            result[str(node.target)] = dims
    return result
