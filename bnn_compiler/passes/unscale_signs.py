"""UnscaleSigns: a convolution of scaled and shifted signs becomes one of the signs."""

import numpy as np
import tvm
from numpy.typing import NDArray
from tvm import relax

from bnn_compiler.ops import relax_ops as ops
from bnn_compiler.ops.graph import Graph, affine_operands, array, bind, derived
from bnn_compiler.ops.reference import windows
from bnn_compiler.ops.window import Window

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


def _unscale(graph: Graph, var: relax.Var, conv: relax.Call) -> None:
    source, pad, fill = conv.args[0], None, 0.0
    value = graph.value(source)
    if value is not None and ops.is_op(value, "relax.nn.pad"):
        source, pad, fill = value.args[0], value, float(value.attrs.pad_value)
    scale, shift = np.ones(1), np.zeros(1)
    while (found := affine_operands(graph, source)) is not None:
        inner, bias = (v.astype(np.float64) for v in found)
        scale, shift = scale * inner, scale * bias + shift
        source = graph.values[source].args[0]
    sign = graph.value(source)
    if sign is None or not ops.is_op(sign, "relax.bnn.sign") or scale.size == 1 == shift.size:
        return
    h = float(scale[0])
    if h == 0 or np.any(scale != h):
        return
    window = Window.of(conv.attrs, ops.shape_of(conv.args[1])[1:3])
    padded = any(window.padding) or pad is not None
    around = float(np.rint((fill - shift[0]) / h)) if padded else 0.0
    is_sign = not padded or (
        not np.any(shift != shift[0])
        and abs(around) <= 1
        and abs((fill - shift[0]) / h - around) <= _TOLERANCE
    )
    if not is_sign and (fill != 0 or pad is not None):
        return
    weights = array(conv.args[1])
    new: list[tuple[relax.Var, relax.Expr]] = []

    def emit(what: str, expr: relax.Expr) -> relax.Var:
        new.append((bind(expr, derived(var.name, what)), expr))
        return new[-1][0]

    signs, padding = source, list(window.padding)
    if pad is not None or around != 0:
        top, left, bottom, right = padding if pad is None else (0, 0, 0, 0)
        widths = [0, 0, top, bottom, left, right, 0, 0]
        if pad is not None:
            widths = [int(v) for v in pad.attrs.pad_width]
        else:
            padding = [0, 0, 0, 0]
        signs = emit("padded", relax.op.nn.pad(signs, widths, pad_value=around))
    plain = relax.op.nn.conv2d(
        signs,
        conv.args[1],
        strides=list(window.strides),
        padding=padding,
        dilation=list(window.dilation),
        groups=window.groups,
        data_layout="NHWC",
        kernel_layout="OHWI",
    )
    total = emit("signs", plain)
    outputs = weights.shape[0]
    scales = np.full(outputs, h, np.float32)
    if is_sign:
        bias = _of_shift(weights, shift, window.groups)
        operands = [relax.const(v) for v in (scales, bias.astype(np.float32))]
        graph.replace(var, [*new, (var, ops.call_op("affine", [total, *operands]))])
        return
    none = np.zeros(outputs, np.float32)
    scaled = emit("scaled", ops.call_op("affine", [total, relax.const(scales), relax.const(none)]))
    constant = _shift_inside(weights, shift, window, ops.shape_of(source))
    graph.replace(var, [*new, (var, relax.op.add(scaled, relax.const(constant)))])


def _of_shift(weights: np.ndarray, shift: Vector, groups: int) -> Vector:
    """What a shift of the input's channels adds to each output [O]."""
    outputs, _, _, inputs = weights.shape
    per_channel = np.broadcast_to(shift, groups * inputs).reshape(groups, 1, inputs)
    sums = weights.astype(np.float64).sum(axis=(1, 2)).reshape(groups, outputs // groups, inputs)
    return np.asarray((sums * per_channel).sum(axis=2).reshape(outputs))


def _shift_inside(
    weights: np.ndarray, shift: Vector, window: Window, shape: tuple[int, ...]
) -> np.ndarray:
    """The same where padding has no shift: float32 [N, OH, OW, O] of an input [N, H, W, C]."""
    n, h, w, _ = shape
    inside, oh, ow = windows(np.ones((1, h, w, 1)), window, 0.0)
    outputs, rows, columns, inputs = weights.shape
    total = np.zeros((oh, ow, outputs))
    for ky in range(rows):
        for kx in range(columns):
            tap = window.tap(inside, ky, kx, oh, ow)[0]
            one = weights[:, ky : ky + 1, kx : kx + 1].reshape(outputs, 1, 1, inputs)
            total += tap * _of_shift(one, shift, window.groups)
    return np.repeat(total[None].astype(np.float32), n, axis=0)
