"""UnscaleSigns: a convolution of scaled and shifted signs becomes one of the signs."""

from dataclasses import dataclass, replace

import numpy as np
import tvm
from numpy.typing import NDArray
from tvm import relax

from bnn_compiler.ops import relax_ops as ops
from bnn_compiler.ops.graph import Graph, affine, affine_operands, array, bind, derived
from bnn_compiler.ops.reference import windows
from bnn_compiler.ops.window import Window
from bnn_compiler.passes.pool_before_scale import sign_below_pools
from bnn_compiler.passes.weights import few_levels

Vector = NDArray[np.float64]
#: How far from -1, 0 and +1 the padding value may be in the units of the signs.
_TOLERANCE = 1e-6


class UnscaleSigns:
    """nn.conv2d(c + h * sign(x), W) -> affine(nn.conv2d(sign(x), W), h, c * sum of W).

        u = bnn.affine(bnn.sign(x), h, c)         i = nn.conv2d(pad(s, (0 - c) / h), W)
        y = nn.conv2d(u, W; padding)        ->    y = bnn.affine(i, h, sum of c * W over all taps)

    ``h`` is one number; ``c`` may differ by channel where nothing is padded. The padding of
    {0, 1} is then -1, a sign itself. Where it is no sign, the signs are padded with 0, and what
    the shift adds is a tensor that differs at the border.
    """

    def __call__(self, module: tvm.IRModule) -> tvm.IRModule:
        graph = Graph.of(module)
        for var, value in list(graph.values.items()):
            if ops.is_op(value, "relax.nn.conv2d"):
                _unscale(graph, var, value)
        return graph.module()


@dataclass(frozen=True)
class _TwoLevels:
    """A convolution's input: shift + scale * ``sign``, perhaps pooled, with ``fill`` around it."""

    sign: relax.Expr
    scale: float
    shift: Vector
    fill: float
    window: Window

    def sign_around(self) -> int | None:
        """The padding in the units of the signs; None if it is not -1, 0 or +1 in all channels."""
        if not any(self.window.padding):
            return 0
        around = (self.fill - self.shift) / self.scale
        nearest = np.rint(around[0])
        if abs(nearest) > 1 or np.any(np.abs(around - nearest) > _TOLERANCE):
            return None
        return int(nearest)


def _two_levels(graph: Graph, conv: relax.Call) -> _TwoLevels | None:
    source, fill = conv.args[0], 0.0
    window = Window.of(conv.attrs, ops.shape_of(conv.args[1])[1:3])
    value = graph.value(source)
    if value is not None and ops.is_op(value, "relax.nn.pad"):
        widths = [int(v) for v in value.attrs.pad_width]
        fill = float(value.attrs.pad_value)
        if any(widths[:2] + widths[6:]) or min(widths) < 0 or (fill and any(window.padding)):
            return None
        source = value.args[0]
        outer = widths[2], widths[4], widths[3], widths[5]
        top, left, bottom, right = (a + b for a, b in zip(window.padding, outer, strict=True))
        window = replace(window, padding=(top, left, bottom, right))
    scale, shift, whole = np.ones(1), np.zeros(1), source
    while (found := affine_operands(graph, source)) is not None:
        inner, bias = (v.astype(np.float64) for v in found)
        scale, shift = scale * inner, scale * bias + shift
        source = graph.values[source].args[0]
    if sign_below_pools(graph, source) is None or source.same_as(whole):
        return None
    if scale[0] == 0 or np.any(scale != scale[0]):
        return None
    return _TwoLevels(source, float(scale[0]), shift, fill, window)


def _unscale(graph: Graph, var: relax.Var, conv: relax.Call) -> None:
    x = _two_levels(graph, conv)
    if x is None:
        return
    weights = array(conv.args[1])
    if not few_levels(weights):
        return
    new: list[tuple[relax.Var, relax.Expr]] = []

    def emit(what: str, expr: relax.Expr) -> relax.Var:
        new.append((bind(expr, derived(var.name, what)), expr))
        return new[-1][0]

    around = x.sign_around()
    signs, padding = x.sign, list(x.window.padding)
    if around:
        top, left, bottom, right = padding
        widths = [0, 0, top, bottom, left, right, 0, 0]
        signs, padding = emit("padded", relax.op.nn.pad(signs, widths, pad_value=around)), [0] * 4
    plain = relax.op.nn.conv2d(
        signs,
        conv.args[1],
        strides=list(x.window.strides),
        padding=padding,
        dilation=list(x.window.dilation),
        groups=x.window.groups,
        data_layout="NHWC",
        kernel_layout="OHWI",
    )
    total = emit("signs", plain)
    bias = np.zeros(len(weights))
    if around is not None:
        bias = _of_input(weights, x.shift, x.window.groups)
    scales = np.full(len(weights), x.scale)
    scaled: relax.Expr = affine(total, scales, bias)
    if around is None:
        border = relax.const(_with_border(weights, x))
        scaled = relax.op.add(emit("scaled", scaled), border)
    graph.replace(var, [*new, (var, scaled)])


def _of_input(weights: np.ndarray, level: Vector, groups: int) -> Vector:
    """What an input that is ``level`` in its channels adds to each output [O]."""
    outputs, _, _, inputs = weights.shape
    per_channel = np.broadcast_to(level, groups * inputs).reshape(groups, 1, inputs)
    sums = weights.astype(np.float64).sum(axis=(1, 2)).reshape(groups, outputs // groups, inputs)
    return np.asarray((sums * per_channel).sum(axis=2).reshape(outputs))


def _with_border(weights: np.ndarray, x: _TwoLevels) -> np.ndarray:
    """What the shift inside and the fill around it add: float32 [N, OH, OW, O]."""
    n, h, w, _ = ops.shape_of(x.sign)
    inside, oh, ow = windows(np.ones((1, h, w, 1)), x.window, 0.0)
    outputs, rows, columns, inputs = weights.shape
    total = np.zeros((oh, ow, outputs))
    for ky in range(rows):
        for kx in range(columns):
            tap = x.window.tap(inside, ky, kx, oh, ow)[0]
            one = weights[:, ky : ky + 1, kx : kx + 1].reshape(outputs, 1, 1, inputs)
            shift = _of_input(one, x.shift, x.window.groups)
            fill = _of_input(one, np.full_like(x.shift, x.fill), x.window.groups)
            total += tap * shift + (1 - tap) * fill
    return np.repeat(total[None].astype(np.float32), n, axis=0)
