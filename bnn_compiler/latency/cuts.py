"""Shortcuts between channels that are not tied: what is cut, repeated or padded before a sum.

    y + x[:, :c]    y + x.repeat(1, n, 1, 1)[:, :c]    y + torch.cat([x] * n, 1)[:, :c]
    y + F.pad(x, (0, 0, 0, 0, 0, c - x.shape[1]))

The bound c is y's count, whatever that of x: a term of its own, which the sum makes y's.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from torch.fx import Node

from bnn_compiler.frontend.pytorch.trace import argument, op_name
from bnn_compiler.latency.dims import Dim, Kind, Layer, Point, find, leaves, size

#: An end of a slice that no count is: everything.
_ALL = 1 << 62
_ELEMENTWISE = "add"


@dataclass(frozen=True, eq=False)
class Cut:
    """``target`` channels are made of ``source``; ``repeat`` is the operator that repeats those.

    ``pads`` if zeros fill up what is missing. ``path`` is the module that cuts.
    """

    source: Dim
    target: Dim
    path: str
    repeat: Node | None = None
    pads: bool = False

    @property
    def grows(self) -> bool:
        """Whether the target may have more channels than the source."""
        return self.pads or self.repeat is not None

    def times(self, point: Point) -> int:
        """How often the source is repeated."""
        return -(-size(self.target, point) // size(self.source, point))


def is_cut(node: Node) -> bool:
    """Whether ``node`` gives leading channels, or channels and zeros, to sums only."""
    if op_name(node) == "slice":
        leading = argument(node, "start") in (None, 0) and argument(node, "step") in (None, 1)
        end = argument(node, "end")
        fits = argument(node, "dim") == 1 and leading and end is not None and 0 < end < _ALL
    elif op_name(node) in ("pad", "constant_pad_nd"):
        widths = list(argument(node, "pad") or ())
        fits = len(widths) == 6 and not any(widths[:5]) and not argument(node, "value")
        fits = fits and argument(node, "mode") in (None, "constant")
    else:
        # A slice of all channels is an alias in torch's graph.
        fits = op_name(node) == "alias" and node.meta["val"].dim() == 4
    return fits and bool(node.users) and all(_is_sum(user) for user in node.users)


def _is_sum(node: Node) -> bool:
    return op_name(node) == _ELEMENTWISE and len(node.all_input_nodes) == 2


def repeated(node: Node) -> Node | None:
    """What ``node`` repeats along its channels, for cuts only; None if it does anything else."""
    if op_name(node) == "repeat":
        times: Sequence[int] = node.args[1]  # type: ignore[assignment]
        source = node.args[0]
        fits = len(times) == 4 and all(t == 1 for i, t in enumerate(times) if i != 1)
    elif op_name(node) == "cat":
        parts: Sequence[Node] = node.args[0]  # type: ignore[assignment]
        source = parts[0]
        fits = argument(node, "dim") == 1 and all(p is source for p in parts)
    else:
        return None
    return source if fits and isinstance(source, Node) and _only_cut(node) else None


def _only_cut(node: Node) -> bool:
    users = list(node.users)
    return bool(users) and all(op_name(u) in ("slice", "alias") and is_cut(u) for u in users)


def repetition(node: Node) -> Node | None:
    """The operator whose repetition ``node`` cuts."""
    source = node.args[0]
    if op_name(node) not in ("slice", "alias") or not isinstance(source, Node):
        return None
    return source if repeated(source) is not None else None


def is_certain(node: Node) -> bool:
    """Whether ``node`` is a cut that torch's graph shows: an alias may be anything."""
    return is_cut(node) and (op_name(node) != "alias" or repetition(node) is not None)


def times_of(node: Node, cuts: Mapping[Node, Cut], point: Point) -> int | None:
    """How often ``node`` repeats its channels in a plan; None if no cut reads it."""
    found = [cut.times(point) for cut in cuts.values() if cut.repeat is node]
    return max(found, default=None)


def trials(cuts: Collection[Cut], layers: Iterable[Layer], full: Point) -> Iterator[Point]:
    """Two plans in which the two sides of all cuts differ: later ones have fewer, then more.

    Channels that groups of convolutions divide stay. A plan that a cut cannot make is left out.
    """
    ends = [find(d) for cut in cuts for d in (cut.source, cut.target)]
    fixed = {leaf.position for c in layers if c.groups > 1 for leaf in _leaves(c)}
    places = sorted({d.position for d in ends if d.kind is Kind.FREE} - fixed)
    for order in (places, places[::-1]):
        point = list(full)
        for fewer, place in enumerate(order, start=1):
            point[place] = max(1, point[place] - fewer)
        made = tuple(point)
        if all(c.grows or size(c.target, made) <= size(c.source, made) for c in cuts):
            yield made


def _leaves(layer: Layer) -> list[Dim]:
    return [*leaves(layer.inputs), *leaves(layer.outputs)]
