"""BinarizeConv: a convolution of signs with two-valued or ternary weights becomes bnn.conv2d."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import tvm
from tvm import relax

from bnn_compiler.ops import relax_ops as ops
from bnn_compiler.ops.graph import Graph, array, bind, derived
from bnn_compiler.passes.atoms import Atoms
from bnn_compiler.passes.sign_planes import SignPlanes, plane, sign_planes
from bnn_compiler.passes.weights import TernaryWeights, split_weights


class BinarizeConv:
    """nn.conv2d(sign(x), scale * w) -> affine(bnn.conv2d(map(x) -> bits, w), scale, 0).

        s = bnn.sign(x)                          b = bnn.map(x, 0; outputs=["bits>=:0"])
        y = nn.conv2d(pad(s, v), W)       ->     i = bnn.conv2d(b, sign(W); pad_value=v)
                                                 y = bnn.affine(i, |W|, 0)

    Zeros of the signs (``sign_planes``) and of the weights (``TernaryWeights.planes``) become
    sums of planes: i is then a sum of up to four such convolutions, and the scale is shared.

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
    """State of one run; ``bits`` has the planes made so far, by the sign and the compare."""

    graph: Graph
    atoms: Atoms
    zero_weight: str
    bits: dict[tuple[relax.Var, str], relax.Var] = field(default_factory=dict)

    def convolution(self, var: relax.Var, conv: relax.Call) -> None:
        source, padding, pad_value = _padded_source(self.graph, conv)
        sign = self.graph.value(source)
        if sign is None or not ops.is_op(sign, "relax.bnn.sign"):
            return
        weights = split_weights(array(conv.args[1]))
        if weights is None:
            return
        tensors = weights.planes(self.zero_weight, var.name)
        planes = sign_planes(self.atoms, sign.args[0], int(sign.attrs["zero"]), pad_value)
        attrs: dict[str, Any] = {
            "strides": [int(v) for v in conv.attrs.strides],
            "padding": padding,
            "dilation": [int(v) for v in conv.attrs.dilation],
            "groups": int(conv.attrs.groups),
            "pad_value": planes.pad_value,
            "channels": ops.shape_of(sign.args[0])[3],
        }
        calls = [
            ops.anchor(
                "conv2d", [self._plane(source, sign, compare, planes), relax.const(w)], **attrs
            )
            for compare in planes.compares
            for w in tensors
        ]
        new: list[tuple[relax.Var, relax.Expr]] = []

        def emit(expr: relax.Expr) -> relax.Var:
            new.append((bind(expr, derived(var.name, f"sum{len(new)}")), expr))
            return new[-1][0]

        total, *others = [emit(call) for call in calls]
        for other in others:
            total = emit(relax.op.add(total, other))
        for scale, bias in _affines(planes, weights, tensors):
            total = emit(ops.call_op("affine", [total, relax.const(scale), relax.const(bias)]))
        *inner, (_, last) = new
        self.graph.replace(var, [*inner, (var, last)])

    def _plane(
        self, source: relax.Var, sign: relax.Call, compare: str, planes: SignPlanes
    ) -> relax.Var:
        """The bits ``compare`` of a sign; NAME__bits where they are all of it."""
        if (source, compare) not in self.bits:
            packed = plane(sign.args[0], compare)
            what = "bits" if planes.divisor == 1 else f"bits_{_WORDS[compare]}"
            bits = bind(packed, derived(source.name, what))
            self.bits[source, compare] = bits
            self.graph.replace(source, [(source, sign), (bits, packed)])
        return self.bits[source, compare]


def _affines(
    planes: SignPlanes, weights: TernaryWeights, tensors: list[np.ndarray]
) -> list[tuple[np.ndarray, np.ndarray]]:
    """(scale, bias) float32 [O], in order, that turn the sum of all planes into the convolution.

    The offset of the signs is added to the integer first, so that 0 stays exactly 0.
    """
    one = np.ones_like(weights.scale)
    found = []
    if planes.offset:
        taps = sum(w.sum(axis=(1, 2, 3), dtype=np.int64) for w in tensors)
        found.append((one, (planes.offset * taps).astype(np.float32)))
    scale = weights.scale / np.float32(planes.divisor * len(tensors))
    if np.any(scale != 1):
        found.append((scale, 0 * one))
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
