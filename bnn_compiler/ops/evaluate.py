"""A fused Relax module run by the numpy reference: what a program must equal bit for bit."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from tvm import relax

from bnn_compiler.ops import reference, winograd
from bnn_compiler.ops import relax_ops as ops
from bnn_compiler.ops.graph import Graph, array, constant
from bnn_compiler.ops.reference import ConvAttrs
from bnn_compiler.ops.resize import resize_tables

Values = dict[relax.Var, Any]


def window(call: relax.Call, kernel: Sequence[int] | None = None) -> ConvAttrs:
    """The window attributes of a call."""
    a = call.attrs
    groups = int(a["groups"]) if "groups" in set(a.keys()) else 1
    size = kernel if kernel is not None else [int(v) for v in a["kernel"]]
    strides, padding, dilation = (
        [int(v) for v in a[k]] for k in ("strides", "padding", "dilation")
    )
    return ConvAttrs(size, strides, padding, dilation, groups)


def _resize(call: relax.Call, x: np.ndarray) -> np.ndarray:
    method, transform = str(call.attrs["method"]), str(call.attrs["transform"])
    oh, ow = (int(v) for v in call.attrs["size"])
    fy, fx = (float(v) for v in call.attrs["factors"])
    y0, y1, wy = resize_tables(x.shape[1], oh, method, transform, fy)
    x0, x1, wx = resize_tables(x.shape[2], ow, method, transform, fx)
    if method == "nearest_neighbor":
        return x[:, y0][:, :, x0]

    def blend(a: np.ndarray, b: np.ndarray, t: np.ndarray) -> np.ndarray:
        return reference.fma(b - a, np.broadcast_to(t, a.shape), a)

    above = blend(x[:, y0][:, :, x0], x[:, y0][:, :, x1], wx[:, None])
    below = blend(x[:, y1][:, :, x0], x[:, y1][:, :, x1], wx[:, None])
    return blend(above, below, wy[:, None, None])


def _pad(call: relax.Call, x: np.ndarray) -> np.ndarray:
    t, left, b, r = (int(v) for v in call.attrs["padding"])
    fill = float(call.attrs["pad_value"])
    return np.pad(x, ((0, 0), (t, b), (left, r), (0, 0)), constant_values=fill)


#: Anchor -> its value from the call and its data arguments.
_ANCHOR: dict[str, Callable[..., np.ndarray]] = {
    "map": lambda call, x: x,
    "conv2d": lambda call, x, w: reference.binary_conv2d(
        x, w, window(call, w.shape[1:3]), int(call.attrs["pad_value"])
    ),
    "float_conv2d": lambda call, x, w: reference.float_conv2d(x, w, window(call, w.shape[1:3])),
    "winograd_conv2d": lambda call, x, w: winograd.winograd_conv2d(
        x.transpose(0, 2, 3, 1), w, window(call, w.shape[1:3])
    ),
    "bytes": lambda call, x: x.astype(np.float32),
    "byte_conv2d": lambda call, x, w, scale, bias: reference.byte_conv2d(
        x, w, scale, bias, window(call, w.shape[1:3])
    ),
    "max_pool2d": lambda call, x: reference.max_pool2d(x, window(call)),
    "avg_pool2d": lambda call, x: reference.avg_pool2d(
        x, window(call), bool(call.attrs["count_include_pad"])
    ),
    "global_mean": lambda call, x: reference.global_mean(x),
    "concat": lambda call, *xs: np.concatenate(xs, axis=3),
    "resize2d": _resize,
    "pad": _pad,
}


def anchor_value(call: relax.Call, data: Sequence[np.ndarray]) -> np.ndarray:
    """The value of an anchor before its epilogue."""
    return _ANCHOR[ops.anchor_name(call)](call, *data)


def run_call(call: relax.Call, values: Values) -> Any:
    """The result of one call; a list if it has several outputs. Bits are int8 -1/+1."""
    args = [values[a] if constant(a) is None else array(a) for a in call.args if not _is_shape(a)]
    if ops.anchor_name(call):
        count = ops.data_count(call)
        value = anchor_value(call, args[:count])
        results = reference.apply_epilogue(ops.epilogue_of(call), value, args[count:])
        return results if len(results) > 1 else results[0]
    if ops.is_op(call, "relax.permute_dims"):
        return np.transpose(args[0], [int(v) for v in call.attrs.axes])
    if ops.is_op(call, "relax.reshape"):
        return args[0].reshape([int(v) for v in call.args[1].values])
    assert ops.is_op(call, "relax.bnn.bits_max_pool2d"), call.op
    return _bits_pool(call, args[0], args[1])


def _bits_pool(call: relax.Call, x: np.ndarray, flip: np.ndarray) -> np.ndarray:
    bits = np.unpackbits(flip.view(np.uint8), bitorder="little")[: x.shape[3]]
    sign = np.where(bits == 1, -1, 1).astype(np.int8)
    return reference.max_pool2d(x * sign, window(call)) * sign


def _is_shape(expr: relax.Expr) -> bool:
    return isinstance(expr, relax.ShapeExpr)


def run(graph: Graph, inputs: Sequence[np.ndarray]) -> Values:
    """Every variable's value."""
    values: Values = dict(zip(graph.params, inputs, strict=True))
    for var, value in graph.values.items():
        if isinstance(value, relax.TupleGetItem):
            values[var] = values[value.tuple_value][value.index]
        elif isinstance(value, relax.Var):
            values[var] = values[value]
        else:
            values[var] = run_call(value, values)
    return values
