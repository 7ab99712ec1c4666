"""What each node of a graph is as a function of one other node: a sign is found by evaluating it.

An element of ``where(sign(x) == 0, 1, sign(x))`` depends on the element of x at the same place, and
is constant below 0, at 0 and above 0: whatever it is made of, three evaluations say all of it.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from torch.fx import Graph, Node
from torch.fx.node import map_arg

from bnn_compiler.frontend.pytorch.constants import Constants
from bnn_compiler.frontend.pytorch.markers import sign
from bnn_compiler.frontend.pytorch.steps import (
    MOST_EDGES,
    Part,
    Piece,
    Steps,
    compact,
    like,
    merged,
    placed,
    within,
)
from bnn_compiler.frontend.pytorch.trace import argument, op_name

_COMPARES = ("ge", "gt", "le", "lt", "eq", "ne")
_SIGNS = ("sign", "sgn", "heaviside")
_ROUNDS = ("round", "floor", "ceil", "trunc", "fix")
#: Pointwise, though not tagged so, or not for every overload.
_POINTWISE = (
    "__or__",
    "__and__",
    "__xor__",
    "to",
    "_to_copy",
    "type_as",
    "masked_fill",
    "index_put",
    "where",
    "clone",
)
#: Clamps: name -> the declared names of their bounds, their defaults.
_CLAMPS = {
    "hardtanh": (("min_val", "max_val"), (-1.0, 1.0)),
    "clamp": (("min", "max"), (-math.inf, math.inf)),
    "clamp_min": (("min", ""), (-math.inf, math.inf)),
    "clamp_max": (("", "max"), (-math.inf, math.inf)),
    "relu": (("", ""), (0.0, math.inf)),
    "relu6": (("", ""), (0.0, 6.0)),
}
#: Bounds of functions that have them.
_RANGES = {"sigmoid": (0.0, 1.0), "hardsigmoid": (0.0, 1.0), "tanh": (-1.0, 1.0)}


@dataclass
class Stepwise:
    """Asks every node of ``graph``."""

    graph: Graph
    constants: Constants
    _known: dict[Node, Steps | Tensor] = field(default_factory=dict)

    def of(self, node: Node) -> Steps | Tensor:
        """A node as steps, or the constant that it is."""
        if node not in self._known:
            # In the order of the graph, so that no recursion is deep.
            for earlier in self.graph.nodes:
                if earlier.op != "output" and earlier not in self._known:
                    self._known[earlier] = self._steps(earlier)
                if earlier is node:
                    break
        return self._known[node]

    def _itself(self, node: Node) -> Steps:
        return Steps(node, (), (None,))

    def _steps(self, node: Node) -> Steps | Tensor:
        tensor = self.constants.tensor(node)
        if tensor is not None:
            return tensor
        number = self.constants.number(node)
        value = node.meta.get("val")
        if number is not None and isinstance(value, Tensor):
            return torch.full((1,) * value.dim(), number, dtype=value.dtype)
        if node.op != "call_function" or not isinstance(value, Tensor) or not _is_pointwise(node):
            return self._itself(node)
        found = self._combined(node)
        return self._itself(node) if found is None else found

    def _combined(self, node: Node) -> Steps | Tensor | None:
        """A pointwise node whose arguments depend on one source."""
        known = {n: self._known[n] for n in node.all_input_nodes}
        steps = [s for s in known.values() if isinstance(s, Steps)]
        sources = {s.source for s in steps}
        if len(sources) != 1:
            return None
        (source,) = sources
        value, wanted = node.meta["val"], source.meta.get("val")
        if not isinstance(wanted, Tensor) or value.shape != wanted.shape or not value.dim():
            return None
        if not wanted.dtype.is_floating_point:
            return None
        if any(isinstance(s, Tensor) and s.dim() > value.dim() for s in known.values()):
            return None
        edges = merged([s.edges for s in steps])
        if edges is None:
            return None
        infinite = [torch.full((1,) * wanted.dim(), v, dtype=wanted.dtype) for v in (-1, 1)]
        low, high = (v * math.inf for v in infinite)
        bounds = [low, *edges, high]
        found_edges: list[Tensor] = []
        found_values: list[Tensor | None] = []
        for i, (below, above) in enumerate(pairwise(bounds)):
            if i:
                part = self._part(node, known, Piece(below, below, below))
                if part is None or len(part[1]) != 1:
                    return None
                found_edges.append(below)
                found_values.append(part[1][0])
            part = self._part(node, known, Piece(below, above))
            if part is None:
                return None
            found_edges += part[0]
            found_values += part[1]
        return compact(Steps(source, tuple(found_edges), tuple(found_values)))

    def _part(self, node: Node, known: dict[Node, Steps | Tensor], piece: Piece) -> Part | None:
        """A node within one piece of its source."""
        here = {n: s if isinstance(s, Tensor) else within(s, piece) for n, s in known.items()}
        moving = [n for n, v in here.items() if v is None]
        if not moving:
            return _evaluate(node, here)
        inside = _INSIDE.get(op_name(node))
        return None if inside is None else inside(self, node, here, piece)

    # ---- operators on the source itself, within an open interval

    def _operand(self, value: Any, here: dict[Node, Tensor | None]) -> Tensor | None:
        """A constant operand as a tensor; None for the source and for what is no number."""
        if isinstance(value, Node):
            return here.get(value)
        return None if value is None else torch.as_tensor(value)

    def _compare(self, node: Node, here: dict[Node, Tensor | None], piece: Piece) -> Part | None:
        """The source compared with a constant, or its sign."""
        name = op_name(node)
        operands = [self._operand(a, here) for a in node.args[:2]]
        if name in ("sign", "sgn"):
            operands = [None, torch.zeros(())]
        elif name == "heaviside":
            operands, at = [None, torch.zeros(())], operands[1]
        if operands.count(None) != 1 or len(operands) != 2:
            return None
        turned = operands[0] is not None
        edge = like(operands[0] if turned else operands[1], piece.low)
        if edge is None or bool(edge.isnan().any()):
            return None
        one = torch.ones_like(piece.low)
        if name in _COMPARES:
            compare = getattr(torch, name)
            sides = [(v * one, 0 * one) for v in (-1, 0, 1)]
            values = [compare(b, a) if turned else compare(a, b) for a, b in sides]
        elif name == "heaviside":
            middle = like(at, piece.low)
            if middle is None:
                return None
            values = [0 * one, middle, one]
        else:
            zero = float(node.args[1]) if node.target is sign else 0.0  # type: ignore[arg-type]
            values = [-one, zero * one, one]
        return placed(edge, values, piece)

    def _select(self, node: Node, here: dict[Node, Tensor | None], piece: Piece) -> Part | None:
        """Masks that hold everywhere in the piece, or nowhere."""
        name = op_name(node)
        if name == "where":
            if len(node.args) != 3:
                return None
            mask, then, other = node.args
        elif name == "masked_fill":
            other, mask, then = node.args[:3]
        else:
            indices = node.args[1]
            accumulates = argument(node, "accumulate")
            if not isinstance(indices, list | tuple) or len(indices) != 1 or accumulates:
                return None
            other, mask, then = node.args[0], indices[0], node.args[2]
        chosen = here.get(mask) if isinstance(mask, Node) else None
        if chosen is None or chosen.dtype != torch.bool:
            return None
        if not (bool(chosen.all()) or not bool(chosen.any())):
            return None
        taken = then if bool(chosen.all()) else other
        if isinstance(taken, Node) and here.get(taken) is None:
            return (), (None,)
        value = like(self._operand(taken, here), piece.low)
        return None if value is None else ((), (value.to(node.meta["val"].dtype),))

    def _clamp(self, node: Node, here: dict[Node, Tensor | None], piece: Piece) -> Part | None:
        """The source cut at constants."""
        given = self._bounds(node, here)
        if given is None:
            return None
        low, high = (like(v, piece.low) for v in given)
        if low is None or high is None or not bool((low < high).all()):
            return None
        lower = placed(low, [low, low, None], piece)
        if lower is None or lower[1][-1] is not None:
            return lower
        edges, values = lower
        above = Piece(edges[-1] if edges else piece.low, piece.high)
        rest = placed(high, [None, high, high], above)
        return None if rest is None else ((*edges, *rest[0]), (*values[:-1], *rest[1]))

    def _bounds(self, node: Node, here: dict[Node, Tensor | None]) -> tuple[Tensor, Tensor] | None:
        """The constants that a clamp, a maximum or a minimum cuts its source at."""
        name = op_name(node)
        infinite = torch.tensor(-math.inf), torch.tensor(math.inf)
        if name in ("maximum", "minimum"):
            operands = [self._operand(a, here) for a in node.args[:2]]
            others = [o for o in operands if o is not None]
            if len(others) != 1:
                return None
            return (others[0], infinite[1]) if name == "maximum" else (infinite[0], others[0])
        names, defaults = _CLAMPS[name]
        given = [argument(node, n) if n else None for n in names]
        moving = [g for g in given if isinstance(g, Node) and here.get(g) is None]
        if moving or not isinstance(node.args[0], Node) or here.get(node.args[0]) is not None:
            return None
        found = [self._operand(g, here) for g in given]
        low, high = (
            torch.tensor(d) if v is None else v for v, d in zip(found, defaults, strict=True)
        )
        return low, high

    def _round(self, node: Node, here: dict[Node, Tensor | None], piece: Piece) -> Part | None:
        """A bounded source rounded: steps at whole numbers or between them."""
        if len(node.args) != 1 or node.kwargs:
            return None
        low, high = float(piece.low.max()), float(piece.high.min())
        if low == -math.inf or high == math.inf:
            assert isinstance(node.args[0], Node)
            found = self._range(node.args[0])
            if found is None:
                return None
            low, high = max(low, found[0]), min(high, found[1])
        if not high - low <= MOST_EDGES:
            return None
        shift = 0.5 if op_name(node) == "round" else 0.0
        first = math.floor(low - shift) + 1 + shift
        edges = [e for k in range(MOST_EDGES + 2) if low < (e := first + k) < high]
        function: Any = node.target
        bounds = [low, *edges, high]
        parts: list[Tensor | None] = []
        for i, (below, above) in enumerate(pairwise(bounds)):
            if i:
                parts.append(function(torch.full_like(piece.low, below)))
            parts.append(function(torch.full_like(piece.low, (below + above) / 2)))
        return tuple(torch.full_like(piece.low, e) for e in edges), tuple(parts)

    def _scale(self, node: Node, here: dict[Node, Tensor | None], piece: Piece) -> Part | None:
        """Products with 1 or 0, sums with 0."""
        name = op_name(node)
        a, b = node.args[:2] if len(node.args) == 2 else (None, None)
        moving = [isinstance(v, Node) and here.get(v) is None for v in (a, b)]
        if moving.count(True) != 1 or node.kwargs:
            return None
        constant = self._operand(b if moving[0] else a, here)
        if constant is None:
            return None
        if name == "mul" and bool((constant == 0).all()):
            return (), (torch.zeros_like(piece.low),)
        neutral = 1.0 if name in ("mul", "div") else 0.0
        # A bias per channel that happens to be 0 stays: what reads the sum may read it twice.
        same = constant.numel() == 1 and float(constant) == neutral
        return ((), (None,)) if same and (moving[0] or name in ("mul", "add")) else None

    def _cast(self, node: Node, here: dict[Node, Tensor | None], piece: Piece) -> Part | None:
        """A cast that changes nothing."""
        return ((), (None,)) if node.meta["val"].dtype == piece.low.dtype else None

    def _abs(self, node: Node, here: dict[Node, Tensor | None], piece: Piece) -> Part | None:
        """Of what is nowhere negative."""
        return ((), (None,)) if bool((piece.low >= 0).all()) else None

    def _range(self, node: Node) -> tuple[float, float] | None:
        """Bounds of a node's values."""
        known = self._known.get(node)
        name = op_name(node)
        if name in _RANGES:
            return _RANGES[name]
        if isinstance(known, Steps) and known.source is not node:
            numbers = [v for v in (*known.values[:1], *known.values[-1:])]
            if any(v is None for v in numbers):
                return None
            whole = [*known.edges, *(v for v in known.values if v is not None)]
            return min(float(v.min()) for v in whole), max(float(v.max()) for v in whole)
        if name in ("add", "sub", "mul", "div") and len(node.args) == 2 and not node.kwargs:
            a, b = node.args
            number = self.constants.number(b)
            if number is None and name in ("add", "mul"):
                a, number = b, self.constants.number(a)
            inner = self._range(a) if isinstance(a, Node) and number is not None else None
            if inner is None or number is None or (name == "div" and number == 0):
                return None
            forms: dict[str, Callable[[float], float]] = {
                "add": lambda v: v + number,
                "sub": lambda v: v - number,
                "mul": lambda v: v * number,
                "div": lambda v: v / number,
            }
            ends = [forms[name](v) for v in inner]
            return min(ends), max(ends)
        return None


_Inside = Callable[[Stepwise, Node, dict[Node, Tensor | None], Piece], Part | None]
_INSIDE: dict[str, _Inside] = {
    **dict.fromkeys((*_COMPARES, *_SIGNS), Stepwise._compare),
    **dict.fromkeys(("where", "masked_fill", "index_put"), Stepwise._select),
    **dict.fromkeys((*_CLAMPS, "maximum", "minimum"), Stepwise._clamp),
    **dict.fromkeys(_ROUNDS, Stepwise._round),
    **dict.fromkeys(("mul", "div", "add", "sub"), Stepwise._scale),
    **dict.fromkeys(("to", "_to_copy", "type_as", "clone"), Stepwise._cast),
    "abs": Stepwise._abs,
}


def _is_pointwise(node: Node) -> bool:
    tags = getattr(node.target, "tags", ())
    random = torch.Tag.nondeterministic_seeded in tags
    return not random and (
        node.target is sign or torch.Tag.pointwise in tags or op_name(node) in _POINTWISE
    )


def _evaluate(node: Node, here: dict[Node, Tensor | None]) -> Part | None:
    """A node of constants."""
    function: Any = node.target
    value = node.meta["val"]
    if op_name(node) == "index_put":
        mask: Any = node.args[1]
        first, then = node.args[0], node.args[2]
        single = isinstance(mask, list | tuple) and len(mask) == 1
        chosen = here.get(mask[0]) if single else None
        filled = here.get(then) if isinstance(then, Node) else None
        before = here.get(first) if isinstance(first, Node) else None
        if chosen is None or filled is None or before is None or filled.numel() != 1:
            return None
        if chosen.dtype != torch.bool or argument(node, "accumulate"):
            return None
        return (), (torch.where(chosen, filled.reshape(()), before).to(value.dtype),)
    args: Any
    kwargs: Any
    args, kwargs = (map_arg(a, here.__getitem__) for a in (node.args, node.kwargs))
    if op_name(node) == "type_as":
        return (), (args[0].to(value.dtype),)
    with torch.no_grad():
        result = function(*args, **kwargs)
    if not isinstance(result, Tensor) or result.dim() > value.dim():
        return None
    return (), (result.reshape((1,) * (value.dim() - result.dim()) + tuple(result.shape)),)
