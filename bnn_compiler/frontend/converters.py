"""One converter per PyTorch operator: aten in, Relax in NHWC out."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from tvm import relax

from bnn_compiler.ops import relax_ops as ops

if TYPE_CHECKING:
    from bnn_compiler.frontend.importer import Importer


@dataclass(frozen=True)
class Value:
    """An FX value in Relax: ``expr`` is NHWC; ``flat`` if PyTorch sees it as [N, C*H*W]."""

    expr: relax.Expr
    flat: bool = False


def _pair(value: Any) -> list[int]:
    pair = [int(v) for v in value] if isinstance(value, list | tuple) else [int(value)]
    return pair * 2 if len(pair) == 1 else pair


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
    if isinstance(padding, str):
        raise im.fail("string padding; give numbers")
    ph, pw = _pair(padding)
    y = im.emit(
        relax.op.nn.conv2d(
            im.data(x).expr,
            _kernel(weight),
            strides=_pair(stride),
            padding=[ph, pw, ph, pw],
            dilation=_pair(dilation),
            groups=groups,
            data_layout="NHWC",
            kernel_layout="OHWI",
        )
    )
    return _plus_bias(im, y, bias)


def _plus_bias(im: "Importer", y: Value, bias: Any) -> Value:
    if bias is None:
        return y
    b = im.constant(bias)
    if b is None:
        raise im.fail("its bias is computed at run time")
    return im.affine(y, np.ones_like(b), b)


def _linear(im: "Importer", x: Any, w: Any, bias: Any = None) -> Value:
    value, weight = im.data(x), im.constant(w)
    if weight is None or not value.flat:
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
    im: "Importer", x: Any, gamma: Any, beta: Any, mean: Any, var: Any, *rest: Any
) -> Value:
    eps = float(rest[2] if len(rest) == 4 else rest[-1]) if rest else 1e-5
    m, v = im.constant(mean), im.constant(var)
    if m is None or v is None:
        raise im.fail("batch norm without running statistics; call .eval() on the model")
    g, b = im.constant(gamma), im.constant(beta)
    inverse = 1.0 / np.sqrt(v.astype(np.float64) + eps)
    scale = inverse if g is None else g.astype(np.float64) * inverse
    bias = -m.astype(np.float64) * scale + (0.0 if b is None else b.astype(np.float64))
    return im.affine(im.data(x), scale, bias)


def _functional_batch_norm(
    im: "Importer", x: Any, g: Any, b: Any, m: Any, v: Any, *rest: Any
) -> Value:
    # aten.batch_norm: training, momentum, eps, cudnn; *_no_training: momentum, eps
    numbers = [r for r in rest if isinstance(r, float) and not isinstance(r, bool)]
    return _batch_norm(im, x, g, b, m, v, numbers[-1] if numbers else 1e-5)


def _arithmetic(sign: int) -> Callable[..., Value]:
    def convert(im: "Importer", a: Any, b: Any, alpha: float = 1) -> Value:
        scale = sign * alpha
        left, right = im.constant(a), im.constant(b)
        if right is not None:
            x = im.data(a)
            c = im.per_channel(right, x)
            return im.affine(x, np.ones_like(c), scale * c)
        if left is not None:
            x = im.data(b)
            c = im.per_channel(left, x)
            return im.affine(x, np.full_like(c, scale), c)
        x, y = _same_shape(im, a, b)
        if scale != 1:
            y = im.affine(y, *(np.full(ops.shape_of(y.expr)[3], v) for v in (scale, 0.0)))
        return im.emit(relax.op.add(x.expr, y.expr), x.flat)

    return convert


def _same_shape(im: "Importer", a: Any, b: Any) -> tuple[Value, Value]:
    x, y = im.data(a), im.data(b)
    if ops.shape_of(x.expr) != ops.shape_of(y.expr):
        raise im.fail("its two inputs have different shapes")
    return x, y


def _rsub(im: "Importer", a: Any, b: Any, alpha: float = 1) -> Value:
    return _arithmetic(-1)(im, b, a, alpha)


def _mul(im: "Importer", a: Any, b: Any) -> Value:
    for x, c in ((a, im.constant(b)), (b, im.constant(a))):
        if c is not None:
            value = im.data(x)
            scale = im.per_channel(c, value)
            return im.affine(value, scale, np.zeros_like(scale))
    raise im.fail("the product of two computed tensors cannot be compiled")


def _div(im: "Importer", a: Any, b: Any) -> Value:
    c = im.constant(b)
    if c is None:
        raise im.fail("division by a computed tensor cannot be compiled")
    value = im.data(a)
    divisor = im.per_channel(c, value).astype(np.float64)
    return im.affine(value, 1.0 / divisor, np.zeros_like(divisor))


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
    vector = c if c.size == 1 else c.reshape(-1, 1, 1)[: c.size]
    if value.flat:
        vector = c
    slopes = relax.const(im.per_channel(vector, value))
    return im.emit(relax.op.nn.prelu(value.expr, slopes, axis=3), value.flat)


def _leaky_relu(im: "Importer", x: Any, slope: float = 0.01) -> Value:
    value = im.data(x)
    slopes = np.full(ops.shape_of(value.expr)[3], slope, np.float32)
    return im.emit(relax.op.nn.prelu(value.expr, relax.const(slopes), axis=3), value.flat)


def _sign(im: "Importer", x: Any, zero: int = 0) -> Value:
    value = im.data(x)
    return im.emit(ops.call_op("sign", [value.expr], zero=int(zero)), value.flat)


# ---- pools, shape and resize


def _pool_padding(im: "Importer", padding: Any, ceil_mode: bool) -> list[int]:
    if ceil_mode:
        raise im.fail("ceil_mode=True cannot be compiled")
    ph, pw = _pair(padding)
    return [ph, pw, ph, pw]


def _max_pool2d(
    im: "Importer",
    x: Any,
    kernel: Any,
    stride: Any = (),
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
) -> Value:
    return im.emit(
        relax.op.nn.max_pool2d(
            im.data(x).expr,
            _pair(kernel),
            strides=_pair(stride or kernel),
            padding=_pool_padding(im, padding, ceil_mode),
            dilation=_pair(dilation),
            layout="NHWC",
        )
    )


def _avg_pool2d(
    im: "Importer",
    x: Any,
    kernel: Any,
    stride: Any = (),
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor: Any = None,
) -> Value:
    if divisor is not None:
        raise im.fail("divisor_override cannot be compiled")
    return im.emit(
        relax.op.nn.avg_pool2d(
            im.data(x).expr,
            _pair(kernel),
            strides=_pair(stride or kernel),
            padding=_pool_padding(im, padding, ceil_mode),
            count_include_pad=count_include_pad,
            layout="NHWC",
        )
    )


def _adaptive_avg_pool2d(im: "Importer", x: Any, size: Any) -> Value:
    if _pair(size) != [1, 1]:
        raise im.fail(f"output size {size}; only 1 can be compiled")
    return im.emit(relax.op.mean(im.data(x).expr, [1, 2], keepdims=True))


def _mean(
    im: "Importer", x: Any, dims: Any = None, keepdim: bool = False, dtype: Any = None
) -> Value:
    if dims is None or sorted(d % 4 for d in dims) != [2, 3]:
        raise im.fail(f"mean over {dims}; only the mean over height and width can be compiled")
    return im.emit(relax.op.mean(im.data(x).expr, [1, 2], keepdims=True), not keepdim)


def _cat(im: "Importer", tensors: Any, dim: int = 0) -> Value:
    values = [im.data(t) for t in tensors]
    rank = 2 if values[0].flat else 4
    spatial_one = all(ops.shape_of(v.expr)[1:3] == (1, 1) for v in values)
    if dim % rank != 1 or (rank == 2 and not spatial_one):
        raise im.fail("only concatenation of channels can be compiled")
    return im.emit(relax.op.concat([v.expr for v in values], axis=3), values[0].flat)


def _reshape(im: "Importer", x: Any, *_: Any) -> Value:
    value = im.data(x)
    n, h, w, c = ops.shape_of(value.expr)
    shape = tuple(int(v) for v in im.node.meta["val"].shape)
    if shape == (n, h * w * c):
        return replace(value, flat=True)
    if shape == (n, c, h, w):
        return replace(value, flat=False)
    raise im.fail(f"reshape of [{n}, {c}, {h}, {w}] to {list(shape)}; only flatten is supported")


def _pad(im: "Importer", x: Any, pads: Any, mode: Any = "constant", value: Any = 0) -> Value:
    if not isinstance(mode, str):
        value, mode = mode, "constant"
    widths = [int(v) for v in pads]
    if mode != "constant" or len(widths) > 4 or im.data(x).flat:
        raise im.fail("only constant padding of height and width can be compiled")
    left, right, top, bottom = [*widths, *[0] * (4 - len(widths))]
    return im.emit(
        relax.op.nn.pad(
            im.data(x).expr, [0, 0, top, bottom, left, right, 0, 0], pad_value=float(value or 0.0)
        )
    )


def _upsample(method: str) -> Callable[..., Value]:
    def convert(im: "Importer", x: Any, *args: Any) -> Value:
        align = method == "linear" and any(a is True for a in args)
        size = [int(v) for v in im.node.meta["val"].shape[2:]]
        transform = "align_corners" if align else "half_pixel"
        if method == "nearest_neighbor":
            transform = "asymmetric"
        return im.emit(
            relax.op.image.resize2d(
                im.data(x).expr,
                tuple(size),
                layout="NHWC",
                method=method,
                coordinate_transformation_mode=transform,
                rounding_method="floor",
            )
        )

    return convert


def _first(im: "Importer", x: Any, index: int) -> Value:
    if index != 0:
        raise im.fail("only the first result of this operator can be used")
    return im.data(x)


def _same(im: "Importer", x: Any, *_: Any, **__: Any) -> Value:
    return im.data(x)


#: PyTorch operator (its aten name without overload) -> converter.
HANDLERS: dict[str, Callable[..., Value]] = {
    "sign": _sign,
    "conv2d": _conv2d,
    "linear": _linear,
    "batch_norm": _functional_batch_norm,
    "_native_batch_norm_legit_no_training": _functional_batch_norm,
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
    "max_pool2d": _max_pool2d,
    "avg_pool2d": _avg_pool2d,
    "adaptive_avg_pool2d": _adaptive_avg_pool2d,
    "mean": _mean,
    "cat": _cat,
    "view": _reshape,
    "reshape": _reshape,
    "flatten": _reshape,
    "_unsafe_view": _reshape,
    "squeeze": _reshape,
    "pad": _pad,
    "constant_pad_nd": _pad,
    "upsample_nearest2d": _upsample("nearest_neighbor"),
    "upsample_bilinear2d": _upsample("linear"),
    "getitem": _first,
    "detach": _same,
    "clone": _same,
    "contiguous": _same,
}
