"""Shortcuts between channels that are not tied: what is cut, repeated or padded before a sum.

    y + x[:, :c]    y + x.repeat(1, n, 1, 1)[:, :c]    y + torch.cat([x] * n, 1)[:, :c]
    y + F.pad(x, (0, 0, 0, 0, 0, c - x.shape[1]))

The bound c is y's count, whatever that of x: a term of its own, which the sum makes y's.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch.fx import Node

from bnn_compiler.frontend.pytorch.trace import argument, op_name
from bnn_compiler.latency.dims import Dim, Point, size

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
        return False
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
    return bool(users) and all(
        _only_cut(u) if is_whole(u) else op_name(u) == "slice" and is_cut(u) for u in users
    )


def is_whole(node: Node) -> bool:
    """Whether ``node`` is a slice that takes everything, whatever the sizes."""
    if op_name(node) != "slice" or argument(node, "start") not in (None, 0):
        return False
    end = argument(node, "end")
    return argument(node, "step") in (None, 1) and (end is None or end >= _ALL)


def repetition(node: Node) -> Node | None:
    """The operator whose repetition the slice ``node`` cuts."""
    source = node.args[0]
    while isinstance(source, Node) and is_whole(source):
        source = source.args[0]
    return source if isinstance(source, Node) and repeated(source) is not None else None


def times_of(node: Node, cuts: Mapping[Node, Cut], point: Point) -> int | None:
    """How often ``node`` repeats its channels in a plan; None if no cut reads it."""
    found = [cut.times(point) for cut in cuts.values() if cut.repeat is node]
    return max(found, default=None)
