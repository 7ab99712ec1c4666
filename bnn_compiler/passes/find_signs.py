"""FindSigns: what is known to be one of two numbers is a scaled and shifted sign."""

from dataclasses import dataclass, field

import numpy as np
import tvm
from tvm import relax

from bnn_compiler.ops import relax_ops as ops
from bnn_compiler.ops.graph import Graph, affine, affine_operands, array, bind, derived
from bnn_compiler.passes.atoms import Atoms
from bnn_compiler.passes.facts import Fact
from bnn_compiler.passes.lattice import Vector
from bnn_compiler.passes.pool_before_scale import sign_below_pools
from bnn_compiler.passes.weights import few_levels

#: How far a level may be from where it should be, relative to the distance of the two.
TOLERANCE = 1e-6
#: More parts than these are not worth a convolution each.
_MOST_PARTS = 4


class FindSigns:
    """nn.conv2d(x, W) -> nn.conv2d(c + h * bnn.sign(x - c), W), where every x is c - h or c + h.

        x = signs, moved and joined              d = bnn.affine(x, 1, -c)
        y = nn.conv2d(pad(x), W)           ->    u = bnn.affine(bnn.sign(d), h, c)
                                                 y = nn.conv2d(pad(u), W)

    Whatever makes it so: signs that are shuffled, cut, joined, flipped or upsampled, comparisons,
    choices (``Atoms`` says which numbers a value takes). ``h`` is one number. What is -h, 0 or h is
    h times a sign with zeros. Only where ``W`` has few values too.

        y = nn.conv2d(pad(concat(u, v)), W)  ->  y = nn.conv2d(pad(u), W_u) + nn.conv2d(pad(v), W_v)

    where channels are joined that have another ``h`` each.
    """

    def __call__(self, module: tvm.IRModule) -> tvm.IRModule:
        graph = Graph.of(module)
        rewrite = _Rewrite(graph, Atoms(graph))
        for var, value in list(graph.values.items()):
            if ops.is_op(value, "relax.nn.conv2d"):
                rewrite.convolution(var, value)
        return graph.module()


@dataclass(frozen=True)
class Levels:
    """center + half * sign(x - center, ``zero``); ``center`` [C]."""

    center: Vector
    half: float
    zero: int


def levels(fact: Fact) -> Levels | None:
    """The two numbers (or -h, 0 and h) that a value of which ``fact`` is known takes, if any."""
    if not fact.only or not fact.atoms:
        return None
    atoms = np.stack(fact.atoms)
    if np.isnan(atoms).all(axis=0).any() or not np.isfinite(atoms[~np.isnan(atoms)]).all():
        return None
    low, high = np.nanmin(atoms, axis=0), np.nanmax(atoms, axis=0)
    half, size = (high - low) / 2, np.maximum(np.abs(low), np.abs(high))
    several = half > TOLERANCE * size
    if not several.any():
        return None
    distance = float(half[several].max())
    near = TOLERANCE * distance
    inside = (np.abs(atoms - low) > near) & (np.abs(atoms - high) > near)
    if not inside.any() and np.all(distance - half[several] <= near):
        center = np.where(several, (low + high) / 2, _beside(low, distance, near))
        return Levels(center, distance, 1)
    distance = float(size.max())
    if np.all(np.isnan(atoms) | (atoms == 0) | (np.abs(np.abs(atoms) - distance) <= near)):
        return Levels(np.zeros(low.size), distance, 0)
    return None


def _beside(number: Vector, distance: float, near: float) -> Vector:
    """A center from which a channel's one ``number`` is ``distance`` away: 0 if that is one."""
    return np.where(np.abs(np.abs(number) - distance) <= near, 0.0, number - distance)


@dataclass
class _Rewrite:
    """State of one run; ``made``: scaled signs so far, by the value that they are."""

    graph: Graph
    atoms: Atoms
    made: dict[relax.Var, relax.Var] = field(default_factory=dict)

    def convolution(self, var: relax.Var, conv: relax.Call) -> None:
        source, pad = self._read(conv)
        if not isinstance(source, relax.Var) or self._is_sign(source):
            return
        # Weights are looked at first: facts are of all that is in front.
        if not few_levels(array(conv.args[1])):
            return
        known = levels(self.atoms.fact(source))
        if known is None:
            self._by_parts(var, conv, source, pad)
            return
        if source not in self.made:
            self.made[source] = self._signs(source, known)
        found = self.made[source]
        new: list[tuple[relax.Var, relax.Expr]] = []
        if pad is not None:
            value = relax.Call(pad.op, [found, *pad.args[1:]], pad.attrs, pad.ty_args)
            new.append((bind(value, derived(var.name, "padded_levels")), value))
            found = new[0][0]
        read = relax.Call(conv.op, [found, *conv.args[1:]], conv.attrs, conv.ty_args)
        self.graph.replace(var, [*new, (var, read)])

    def _by_parts(
        self, var: relax.Var, conv: relax.Call, source: relax.Var, pad: relax.Call | None
    ) -> None:
        """The sum of a convolution of each of joined channels, where all of them are levels."""
        value = self.graph.value(source)
        if value is None or not ops.is_op(value, "relax.concat") or int(conv.attrs.groups) > 1:
            return
        parts = list(value.args[0].fields)
        if int(value.attrs.axis) != 3 or len(parts) > _MOST_PARTS:
            return
        ends = np.cumsum([ops.shape_of(p)[3] for p in parts])[:-1]
        weights = np.split(array(conv.args[1]), ends, axis=3)
        if not all(map(few_levels, weights)):
            return
        if not all(isinstance(p, relax.Var) and levels(self.atoms.fact(p)) for p in parts):
            return
        new: list[tuple[relax.Var, relax.Expr]] = []

        def emit(what: str, expr: relax.Expr) -> relax.Var:
            new.append((bind(expr, derived(var.name, what)), expr))
            return new[-1][0]

        made: list[relax.Var] = []
        for i, (part, w) in enumerate(zip(parts, weights, strict=True)):
            read = part
            if pad is not None:
                read = relax.Call(pad.op, [part, *pad.args[1:]], pad.attrs, pad.ty_args)
                read = emit(f"padded{i}", read)
            call = relax.Call(conv.op, [read, relax.const(w)], conv.attrs, conv.ty_args)
            made.append(emit(f"part{i}", call))
        total: relax.Expr = made[0]
        for i, one in enumerate(made[1:], 1):
            total = relax.op.add(total, one)
            total = total if i == len(made) - 1 else emit(f"total{i}", total)
        self.graph.replace(var, [*new, (var, total)])
        for one in made:
            self.convolution(one, self.graph.values[one])

    def _read(self, conv: relax.Call) -> tuple[relax.Expr, relax.Call | None]:
        """What a convolution reads, and the padding of it that the convolution can take in."""
        pad = self.graph.value(conv.args[0])
        if pad is None or not ops.is_op(pad, "relax.nn.pad"):
            return conv.args[0], None
        if float(pad.attrs.pad_value) != 0 and any(int(v) for v in conv.attrs.padding):
            return conv.args[0], None
        widths = [int(v) for v in pad.attrs.pad_width]
        if any(widths[:2] + widths[6:]) or min(widths) < 0:
            # Not a frame of pixels: no convolution of signs has it.
            return conv.args[0], None
        return pad.args[0], pad

    def _is_sign(self, source: relax.Expr) -> bool:
        """Whether it is one already, pooled perhaps, and scaled by one number."""
        while (found := affine_operands(self.graph, source)) is not None:
            if np.any(found[0] != found[0][0]):
                return False
            source = self.graph.values[source].args[0]
        return sign_below_pools(self.graph, source) is not None

    def _signs(self, source: relax.Var, known: Levels) -> relax.Var:
        """``source`` as scaled and shifted signs, bound behind it."""
        new: list[tuple[relax.Var, relax.Expr]] = []

        def emit(what: str, expr: relax.Expr) -> relax.Var:
            new.append((bind(expr, derived(source.name, what)), expr))
            return new[-1][0]

        one = np.ones(known.center.size)
        last = source
        if known.center.any():
            last = emit("centred", affine(last, one, -known.center))
        last = emit("sign", ops.call_op("sign", [last], zero=known.zero))
        if known.half != 1 or known.center.any():
            last = emit("levels", affine(last, known.half * one, known.center))
        self.graph.replace(source, [(source, self.graph.values[source]), *new])
        return last
