"""One converter per PyTorch operator: aten in, Relax in NHWC out."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from tvm import relax

from bnn_compiler.frontend.pytorch import convert_pool, convert_shape
from bnn_compiler.frontend.pytorch.value import Value, pair
from bnn_compiler.ops import relax_ops as ops

if TYPE_CHECKING:
    from bnn_compiler.frontend.pytorch.importer import Importer


# ---- convolutions


def _kernel(weight: np.ndarray) -> relax.Expr:
    return relax.const(np.ascontiguousarray(weight.transpose(0, 2, 3, 1), np.float32))


def _conv2d(
    im: "Importer",
    x: Any,
    w: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Value:
    weight = im.constant(w)
    if weight is None:
        raise im.fail("its weight is computed at run time; only constant weights can be compiled")
    y = im.emit(
        relax.op.nn.conv2d(
            im.data(x).expr,
            _kernel(weight),
            strides=pair(stride),
            padding=_conv_padding(padding, weight.shape[2:], pair(dilation)),
            dilation=pair(dilation),
            groups=groups,
            data_layout="NHWC",
            kernel_layout="OHWI",
        )
    )
    return _plus_bias(im, y, bias)


def _conv_padding(padding: Any, kernel: Sequence[int], dilation: Sequence[int]) -> list[int]:
    """(top, left, bottom, right); of an even "same" padding the larger half is behind."""
    if padding == "valid":
        return [0, 0, 0, 0]
    if padding == "same":
        total = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
        before = [t // 2 for t in total]
        return before + [t - b for t, b in zip(total, before, strict=True)]
    return pair(padding) * 2


def _plus_bias(im: "Importer", y: Value, bias: Any) -> Value:
    if bias is None:
        return y
    b = im.constant(bias)
    if b is None:
        raise im.fail("its bias is computed at run time")
    return im.affine(y, np.ones_like(b), b)


def _linear(im: "Importer", x: Any, w: Any, bias: Any = None) -> Value:
    value, weight = im.data(x), im.constant(w)
    if weight is None or weight.ndim != 2 or not value.flat:
        raise im.fail("needs a constant weight and a [N, F] input")
    _, h, wd, c = ops.shape_of(value.expr)
    y = im.emit(
        relax.op.nn.conv2d(
            value.expr,
            _kernel(weight.reshape(weight.shape[0], c, h, wd)),
            data_layout="NHWC",
            kernel_layout="OHWI",
        ),
        True,
    )
    return _plus_bias(im, y, bias)


# ---- normalisation and element-wise operators


def _batch_norm(
    im: "Importer",
    x: Any,
    gamma: Any,
    beta: Any,
    mean: Any,
    var: Any,
    training: bool,
    momentum: float,
    eps: float,
    cudnn: bool = False,
) -> Value:
    m, v = im.constant(mean), im.constant(var)
    if training or m is None or v is None:
        raise im.fail("batch norm by the batch's own statistics; call .eval() on the model")
    g, b = im.constant(gamma), im.constant(beta)
    inverse = 1.0 / np.sqrt(v.astype(np.float64) + eps)
    scale = inverse if g is None else g.astype(np.float64) * inverse
    bias = -m.astype(np.float64) * scale + (0.0 if b is None else b.astype(np.float64))
    value = im.data(x)
    return im.affine(im.vector(value) if value.flat else value, scale, bias)


def _batch_norm_no_training(
    im: "Importer", x: Any, g: Any, b: Any, m: Any, v: Any, momentum: float, eps: float
) -> Value:
    return _batch_norm(im, x, g, b, m, v, False, momentum, eps)


def _batch_norm_of_batch(im: "Importer", *_: Any) -> Value:
    raise im.fail("batch norm by the batch's own statistics; call .eval() on the model")


def _arithmetic(sign: int) -> Callable[..., Value]:
    def convert(im: "Importer", a: Any, b: Any, alpha: float = 1) -> Value:
        scale = sign * alpha
        left, right = im.constant(a), im.constant(b)
        if right is not None:
            x, c = im.per_channel(right, im.data(a))
            return im.affine(x, np.ones_like(c), scale * c)
        if left is not None:
            x, c = im.per_channel(left, im.data(b))
            return im.affine(x, np.full_like(c, scale), c)
        x, y = _same_shape(im, a, b)
        if scale != 1:
            y = im.affine(y, *(np.full(ops.shape_of(y.expr)[3], v) for v in (scale, 0.0)))
        return im.emit(relax.op.add(x.expr, y.expr), x.flat)

    return convert


def _same_shape(im: "Importer", a: Any, b: Any) -> tuple[Value, Value]:
    x, y = im.data(a), im.data(b)
    if x.flat and y.flat and not (x.is_vector and y.is_vector):
        x, y = im.vector(x), im.vector(y)
    if ops.shape_of(x.expr) != ops.shape_of(y.expr):
        raise im.fail("its two inputs have different shapes")
    return x, y


def _rsub(im: "Importer", a: Any, b: Any, alpha: float = 1) -> Value:
    return _arithmetic(-1)(im, b, a, alpha)


def _mul(im: "Importer", a: Any, b: Any) -> Value:
    for x, c in ((a, im.constant(b)), (b, im.constant(a))):
        if c is not None:
            value, scale = im.per_channel(c, im.data(x))
            return im.affine(value, scale, np.zeros_like(scale))
    raise im.fail("the product of two computed tensors cannot be compiled")


def _div(im: "Importer", a: Any, b: Any, rounding_mode: Any = None) -> Value:
    if rounding_mode is not None:
        raise im.fail(f"rounding_mode {rounding_mode!r} cannot be compiled")
    c = im.constant(b)
    if c is None:
        raise im.fail("division by a computed tensor cannot be compiled")
    value, divisor = im.per_channel(c, im.data(a))
    with np.errstate(divide="ignore"):
        return im.affine(value, 1.0 / divisor.astype(np.float64), np.zeros_like(divisor))


def _neg(im: "Importer", x: Any) -> Value:
    return _mul(im, x, -1.0)


def _clip(lo: float, hi: float) -> Callable[..., Value]:
    def convert(im: "Importer", x: Any, low: Any = lo, high: Any = hi) -> Value:
        value = im.data(x)
        bounds = (_bound(im, low, -np.inf), _bound(im, high, np.inf))
        if im.node.meta["val"].numel() != int(np.prod(ops.shape_of(value.expr))):
            raise im.fail("its bounds have more dimensions than its input")
        return im.emit(relax.op.clip(value.expr, *bounds), value.flat)

    return convert


def _bound(im: "Importer", bound: Any, absent: float) -> float:
    """A clamp's bound: a number, or a constant tensor of one value."""
    if bound is None:
        return absent
    constant = im.constant(bound)
    if constant is None:
        raise im.fail("a bound is computed at run time; only constant bounds can be compiled")
    values = np.unique(constant)
    if values.size != 1 or np.isnan(values[0]):
        raise im.fail(
            f"a bound of shape {list(constant.shape)} has {values.size} different values; only one"
            " number for the whole tensor can be compiled"
        )
    return float(values[0])


def _clamp(
    im: "Importer",
    x: Any,
    min: Any = None,
    max: Any = None,
) -> Value:
    return _clip(-np.inf, np.inf)(im, x, min, max)


def _prelu(im: "Importer", x: Any, slope: Any) -> Value:
    value, c = im.data(x), im.constant(slope)
    if c is None:
        raise im.fail("its slope is computed at run time")
    value, slopes = im.per_channel(c if value.flat else c.reshape(-1, 1, 1), value)
    return im.emit(relax.op.nn.prelu(value.expr, relax.const(slopes), axis=3), value.flat)


def _rrelu(
    im: "Importer", x: Any, low: float = 1 / 8, high: float = 1 / 3, training: bool = False
) -> Value:
    # purity.py has refused training=True.
    return _leaky_relu(im, x, (low + high) / 2)


def _leaky_relu(im: "Importer", x: Any, slope: float = 0.01) -> Value:
    value = im.data(x)
    slopes = np.full(ops.shape_of(value.expr)[3], slope, np.float32)
    return im.emit(relax.op.nn.prelu(value.expr, relax.const(slopes), axis=3), value.flat)


def _sign(im: "Importer", x: Any, zero: int = 0) -> Value:
    value = im.data(x)
    return im.emit(ops.call_op("sign", [value.expr], zero=int(zero)), value.flat)


def _same(im: "Importer", x: Any, memory_format: Any = None) -> Value:
    return im.data(x)


#: PyTorch operator (its aten name without overload) -> converter.
HANDLERS: dict[str, Callable[..., Value]] = {
    "sign": _sign,
    "conv2d": _conv2d,
    "linear": _linear,
    "batch_norm": _batch_norm,
    "_native_batch_norm_legit_no_training": _batch_norm_no_training,
    "_native_batch_norm_legit": _batch_norm_of_batch,
    "_native_batch_norm_legit_functional": _batch_norm_of_batch,
    "add": _arithmetic(1),
    "sub": _arithmetic(-1),
    "rsub": _rsub,
    "mul": _mul,
    "div": _div,
    "neg": _neg,
    "relu": _clip(0.0, np.inf),
    "relu6": _clip(0.0, 6.0),
    "hardtanh": _clip(-1.0, 1.0),
    "clamp": _clamp,
    "clamp_min": _clamp,
    "clamp_max": lambda im, x, max: _clamp(im, x, None, max),
    "prelu": _prelu,
    "_prelu_kernel": _prelu,
    "leaky_relu": _leaky_relu,
    "rrelu": _rrelu,
    "max_pool2d": convert_pool.max_pool2d,
    "max_pool2d_with_indices": convert_pool.max_pool2d,
    "avg_pool2d": convert_pool.avg_pool2d,
    "adaptive_avg_pool2d": convert_pool.adaptive_avg_pool2d,
    "mean": convert_pool.mean,
    "cat": convert_shape.cat,
    "view": convert_shape.reshape,
    "reshape": convert_shape.reshape,
    "flatten": convert_shape.reshape,
    "_unsafe_view": convert_shape.reshape,
    "squeeze": convert_shape.reshape,
    "unsqueeze": convert_shape.reshape,
    "pad": convert_shape.pad,
    "constant_pad_nd": convert_shape.constant_pad,
    "upsample_nearest2d": convert_shape.nearest("asymmetric"),
    "_upsample_nearest_exact2d": convert_shape.nearest("half_pixel"),
    "upsample_bilinear2d": convert_shape.bilinear,
    "getitem": convert_shape.first,
    "detach": _same,
    "clone": _same,
    "contiguous": _same,
}
