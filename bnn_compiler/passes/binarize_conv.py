"""BinarizeConv: a convolution of signs with two-valued or ternary weights becomes bnn.conv2d."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import tvm
from tvm import relax

from bnn_compiler.ops import relax_ops as ops
from bnn_compiler.ops.graph import Graph, affine, array, bind, derived
from bnn_compiler.ops.window import Window
from bnn_compiler.passes.atoms import Atoms
from bnn_compiler.passes.pool_before_scale import sign_below_pools
from bnn_compiler.passes.sign_planes import SignPlanes, plane, sign_planes
from bnn_compiler.passes.weights import (
    TernaryWeights,
    ThreeLevelWeights,
    TwoBases,
    TwoLevelWeights,
    split_weights,
    three_levels,
    two_bases,
    two_levels,
)


class BinarizeConv:
    """nn.conv2d(sign(x), scale * w) -> affine(bnn.conv2d(map(x) -> bits, w), scale, 0).

        s = bnn.sign(x)                          b = bnn.map(x, 0; outputs=["bits>=:0"])
        y = nn.conv2d(pad(s, v), W)       ->     i = bnn.conv2d(b, sign(W); pad_value=v)
                                                 y = bnn.affine(i, |W|, 0)

    Max-pools in between become max-pools of bits.

    Zeros of the signs (``sign_planes``) and of the weights (``TernaryWeights.planes``) become
    sums of planes: i is then a sum of up to four such convolutions, and the scale is shared.
    Weights of two levels c - h and c + h, or of three, need the sum of the signs beside the
    product: a convolution of one output channel in each group. Weights of two sizes, as sums of
    two binary bases and 2 bits are, are two products. Attribute ``weights`` names
    ternary ones in reports.

    ``zero_weight`` is one of ZERO_WEIGHT. Raises ModelError for a weight that is exactly 0 if it
    is "error".
    """

    def __init__(self, zero_weight: str = "exact") -> None:
        self.zero_weight = zero_weight

    def __call__(self, module: tvm.IRModule) -> tvm.IRModule:
        graph = Graph.of(module)
        rewrite = _Rewrite(graph, Atoms(graph), self.zero_weight)
        for var, value in list(graph.values.items()):
            if ops.is_op(value, "relax.nn.conv2d"):
                rewrite.convolution(var, value)
        return graph.module()


_WORDS = {">=": "from_0", ">": "above_0"}


@dataclass
class _Rewrite:
    """State of one run; ``bits``: planes made so far, by the sign or pool, and the compare."""

    graph: Graph
    atoms: Atoms
    zero_weight: str
    bits: dict[tuple[relax.Var, str], relax.Var] = field(default_factory=dict)

    def convolution(self, var: relax.Var, conv: relax.Call) -> None:
        padded, padding, pad_value = _padded_source(self.graph, conv)
        found = sign_below_pools(self.graph, padded)
        if found is None:
            return
        source, sign, pools = found
        weights = _levels(array(conv.args[1]), self.zero_weight)
        if weights is None:
            return
        planes = sign_planes(self.atoms, sign.args[0], int(sign.attrs["zero"]), pad_value)
        attrs: dict[str, Any] = {
            "strides": [int(v) for v in conv.attrs.strides],
            "padding": padding,
            "dilation": [int(v) for v in conv.attrs.dilation],
            "groups": int(conv.attrs.groups),
            "pad_value": planes.pad_value,
            "channels": ops.shape_of(sign.args[0])[3],
        }
        bits = [self._plane(source, sign, pools, c, planes) for c in planes.compares]
        work = _Sums(var.name, bits, planes, attrs)
        if isinstance(weights, TernaryWeights):
            tensors = weights.planes(self.zero_weight, var.name)
            work.product(tensors, weights.scale, weights.note if len(tensors) > 1 else "")
        elif isinstance(weights, TwoLevelWeights):
            work.two_levels(weights)
        elif isinstance(weights, TwoBases):
            work.two_bases(weights)
        else:
            work.three_levels(weights)
        *inner, (_, last) = work.bindings
        self.graph.replace(var, [*inner, (var, last)])

    def _plane(
        self,
        source: relax.Var,
        sign: relax.Call,
        pools: Sequence[relax.Var],
        compare: str,
        planes: SignPlanes,
    ) -> relax.Var:
        """The bits ``compare`` of a sign, max-pooled; NAME__bits where they are all of it."""
        what = "bits" if planes.divisor == 1 else f"bits_{_WORDS[compare]}"
        bits = self._made(source, compare, what, plane(sign.args[0], compare))
        for pool in pools:
            value = self.graph.values[pool]
            window = Window.of(value.attrs, value.attrs.pool_size).attrs()
            channels = ops.shape_of(pool)[3]
            never = relax.const(np.zeros(ops.words(channels), np.uint32))
            pooled = ops.call_op("bits_max_pool2d", [bits, never], **window, channels=channels)
            bits = self._made(pool, compare, what, pooled)
        return bits

    def _made(self, var: relax.Var, compare: str, what: str, made: relax.Call) -> relax.Var:
        """``made``, bound behind ``var`` as its bits, once."""
        if (var, compare) not in self.bits:
            bits = self.bits[var, compare] = bind(made, derived(var.name, what))
            self.graph.replace(var, [(var, self.graph.values[var]), (bits, made)])
        return self.bits[var, compare]


@dataclass
class _Sums:
    """The bindings that make a convolution of ``bits``, the planes of its signs."""

    name: str
    bits: list[relax.Var]
    planes: SignPlanes
    attrs: dict[str, Any]
    bindings: list[tuple[relax.Var, relax.Expr]] = field(default_factory=list)

    def _emit(self, expr: relax.Expr) -> relax.Var:
        name = derived(self.name, f"sum{len(self.bindings)}")
        self.bindings.append((bind(expr, name), expr))
        return self.bindings[-1][0]

    def product(
        self, tensors: Sequence[np.ndarray], scale: np.ndarray, note: str = ""
    ) -> relax.Var:
        """The convolution with ``scale`` [O] times the mean of ``tensors`` of -1/+1.

        The offset of the signs is added to the integer first, so that 0 stays exactly 0.
        """
        attrs = {**self.attrs, **({"weights": note} if note else {})}
        calls = [
            ops.anchor("conv2d", [b, relax.const(w)], **attrs) for b in self.bits for w in tensors
        ]
        total, *others = [self._emit(call) for call in calls]
        for other in others:
            total = self._emit(relax.op.add(total, other))
        one = np.ones_like(scale)
        if self.planes.offset:
            taps = sum(w.sum(axis=(1, 2, 3), dtype=np.int64) for w in tensors)
            total = self._affine(total, one, self.planes.offset * taps)
        scale = scale / np.float32(self.planes.divisor * len(tensors))
        return self._affine(total, scale, 0 * one) if np.any(scale != 1) else total

    def two_levels(self, levels: TwoLevelWeights) -> relax.Var:
        """half * the product with the signs + center * the sum of the input's signs."""
        product = self.product([levels.signs], levels.half)
        return self._beside(product, levels.signs.shape, levels.center)

    def three_levels(self, levels: ThreeLevelWeights) -> relax.Var:
        """Half of each number times the product with its plane, then what the planes are off by."""
        above = self.product([levels.above], levels.upper / 2, levels.note)
        below = self.product([levels.below], levels.lower / 2, levels.note)
        both = self._emit(relax.op.add(above, below))
        return self._beside(both, levels.above.shape, (levels.upper - levels.lower) / 2)

    def two_bases(self, bases: TwoBases) -> relax.Var:
        """The sum of both products."""
        first = self.product([bases.first], bases.large)
        return self._emit(relax.op.add(first, self.product([bases.second], bases.small)))

    def _beside(self, product: relax.Var, shape: tuple[int, ...], center: np.ndarray) -> relax.Var:
        """``product`` and ``center`` [O] times the sum of what weights of ``shape`` read."""
        outputs, rows, columns, inputs = shape
        groups = self.attrs["groups"]
        count = groups if groups in (1, outputs) else outputs
        ones = np.ones((count, rows, columns, inputs), np.int8)
        total = self.product([ones], np.ones(count, np.float32))
        if count < outputs:
            total = self._emit(ops.anchor("tile", [total], start=0, channels=outputs))
        total = self._affine(total, center, np.zeros(outputs))
        return self._emit(relax.op.add(product, total))

    def _affine(self, x: relax.Var, scale: np.ndarray, bias: np.ndarray) -> relax.Var:
        return self._emit(affine(x, scale, bias))


def _levels(
    w: np.ndarray, zero_weight: str
) -> TernaryWeights | TwoLevelWeights | ThreeLevelWeights | TwoBases | None:
    """Float weights as few levels, in the form of the least work; None for others.

    Two levels of which one is 0 are one product and a sum, as ternary weights they are two.
    """
    found = split_weights(w)
    if found is None:
        return two_levels(w) or three_levels(w) or two_bases(w)
    if found.zeros and zero_weight == "exact":
        return two_levels(w) or found
    return found


def _padded_source(graph: Graph, conv: relax.Call) -> tuple[relax.Expr, list[int], int]:
    """The value that is convolved before any padding, the padding (t, l, b, r) and its value."""
    padding = [int(v) for v in conv.attrs.padding]
    source, value = conv.args[0], graph.value(conv.args[0])
    if value is None or not ops.is_op(value, "relax.nn.pad"):
        return source, padding, 0
    widths = [int(v) for v in value.attrs.pad_width]
    fill = float(value.attrs.pad_value)
    outer = [widths[2], widths[4], widths[3], widths[5]]
    spatial = not any(widths[:2] + widths[6:]) and min(outer) >= 0
    if not spatial or fill not in (-1.0, 0.0, 1.0) or (fill != 0 and any(padding)):
        return source, padding, 0
    return value.args[0], [a + b for a, b in zip(padding, outer, strict=True)], int(fill)
