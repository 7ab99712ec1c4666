"""BinarizeConv: a convolution of signs with two-valued weights becomes bnn.conv2d."""

from dataclasses import dataclass

import numpy as np
import tvm
from tvm import relax

from bnn_compiler.errors import ModelError
from bnn_compiler.ops import relax_ops as ops
from bnn_compiler.ops.blocks import blocks
from bnn_compiler.ops.epilogue import Epilogue, Output
from bnn_compiler.passes.graph import Graph, array, bind

#: Weights of one output channel may differ this much in magnitude and still count as two-valued.
#: Folding a straight-through expression moves them by 3e-7; Larq Compute Engine allows 5e-3.
TOLERANCE = 1e-5

#: How to read an exact-zero weight, which has no bit.
ZERO_WEIGHT = {"error": 0, "+1": 1, "-1": -1}


@dataclass(frozen=True)
class BinaryWeights:
    """``signs`` int8 [O,KH,KW,C/groups] of -1/+1 and ``scale`` float32 [O], w = scale * signs."""

    signs: np.ndarray
    scale: np.ndarray
    zeros: int


def split_weights(w: np.ndarray) -> BinaryWeights | None:
    """Signs and scales of float weights [O,KH,KW,C]; None if a channel is not two-valued."""
    signs, scale, zeros = np.empty(w.shape, np.int8), np.empty(len(w), np.float32), 0
    for rows in blocks(len(w), w[0].size):
        part = _split_rows(w[rows])
        if part is None:
            return None
        signs[rows], scale[rows] = part.signs, part.scale
        zeros += part.zeros
    return BinaryWeights(signs, scale, zeros)


def _split_rows(w: np.ndarray) -> BinaryWeights | None:
    flat = np.abs(w.reshape(w.shape[0], -1).astype(np.float64))
    largest = flat.max(axis=1, keepdims=True)
    zero = flat == 0
    dead = largest[:, 0] == 0
    if not np.all(zero | (np.abs(flat - largest) <= TOLERANCE * largest)):
        return None
    counted = np.maximum((~zero).sum(axis=1), 1)
    scale = flat.sum(axis=1) / counted
    signs = np.where(w > 0, 1, np.where(w < 0, -1, 0)).astype(np.int8)
    signs[dead] = 1
    return BinaryWeights(signs, scale.astype(np.float32), int((signs == 0).sum()))


class BinarizeConv:
    """nn.conv2d(sign(x), scale * w) -> affine(bnn.conv2d(map(x) -> bits, w), scale, 0).

        s = bnn.sign(x)                          b = bnn.map(x, 0; outputs=["bits>=:0"])
        y = nn.conv2d(pad(s, v), W)       ->     i = bnn.conv2d(b, sign(W); pad_value=v)
                                                 y = bnn.affine(i, |W|, 0)

    Raises ModelError for an exact-zero weight unless ``zero_weight`` says how to read it.
    """

    def __init__(self, zero_weight: str = "error") -> None:
        self.zero_weight = zero_weight

    def __call__(self, module: tvm.IRModule) -> tvm.IRModule:
        graph = Graph.of(module)
        bits: dict[relax.Var, relax.Var] = {}
        for var, value in list(graph.values.items()):
            if ops.is_op(value, "relax.nn.conv2d"):
                self._convert(graph, var, value, bits)
        return graph.module()

    def _convert(
        self, graph: Graph, var: relax.Var, conv: relax.Call, bits: dict[relax.Var, relax.Var]
    ) -> None:
        source, padding, pad_value = _padded_source(graph, conv)
        sign = graph.value(source)
        if sign is None or not ops.is_op(sign, "relax.bnn.sign"):
            return
        weights = split_weights(array(conv.args[1]))
        if weights is None:
            return
        new: list[tuple[relax.Var, relax.Expr]] = []
        if source not in bits:
            packed = sign_bits(sign.args[0], int(sign.attrs["zero"]))
            bits[source] = bind(packed, source.name)
            graph.replace(source, [(source, sign), (bits[source], packed)])
        binary = ops.anchor(
            "conv2d",
            [bits[source], relax.const(self._without_zeros(weights, var))],
            Epilogue(),
            strides=[int(v) for v in conv.attrs.strides],
            padding=padding,
            dilation=[int(v) for v in conv.attrs.dilation],
            groups=int(conv.attrs.groups),
            pad_value=pad_value,
            channels=ops.shape_of(sign.args[0])[3],
        )
        if np.all(weights.scale == 1):
            new.append((var, binary))
        else:
            inner = bind(binary, var.name)
            zero = np.zeros_like(weights.scale)
            scaled = ops.call_op("affine", [inner, relax.const(weights.scale), relax.const(zero)])
            new += [(inner, binary), (var, scaled)]
        graph.replace(var, new)

    def _without_zeros(self, weights: BinaryWeights, var: relax.Var) -> np.ndarray:
        if weights.zeros and self.zero_weight == "error":
            raise ModelError(
                f"{var.name}: {weights.zeros} of {weights.signs.size} binary weights are exactly 0,"
                " which has no bit; nudge them in the checkpoint or choose --zero-weight +1 or -1"
            )
        chosen = np.int8(ZERO_WEIGHT[self.zero_weight])
        return np.where(weights.signs == 0, chosen, weights.signs)


def sign_bits(x: relax.Expr, zero: int) -> relax.Call:
    """The bits of sign(x). A sign that leaves 0 at 0 gives +1 there (docs/contract.md)."""
    compare = ">" if zero < 0 else ">="
    threshold = relax.const(np.zeros(ops.shape_of(x)[3], np.float32))
    return ops.anchor("map", [x], Epilogue((), (Output(compare, 0),)), [threshold])


def _padded_source(graph: Graph, conv: relax.Call) -> tuple[relax.Expr, list[int], int]:
    """The value that is convolved before any padding, the padding (t, l, b, r) and its value."""
    padding = [int(v) for v in conv.attrs.padding]
    source, value = conv.args[0], graph.value(conv.args[0])
    if value is None or not ops.is_op(value, "relax.nn.pad"):
        return source, padding, 0
    widths = [int(v) for v in value.attrs.pad_width]
    fill = float(value.attrs.pad_value)
    outer = [widths[2], widths[4], widths[3], widths[5]]
    if fill not in (-1.0, 0.0, 1.0) or (fill != 0 and any(padding)):
        return source, padding, 0
    return value.args[0], [a + b for a, b in zip(padding, outer, strict=True)], int(fill)
