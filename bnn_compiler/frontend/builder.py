"""Writes the Relax module that the passes take, in the terms of a front end's framework.

A value is [N, C, H, W] or [N, F] to the caller and [N, H, W, C] inside; a matrix [N, F] is
[N, 1, 1, F]. So a linear layer is a convolution, and a flatten in front of it only says that the
weights of the linear layer are a kernel as large as the image.

    builder = Builder({"x": (1, 3, 8, 8)})
    with builder.main():
        builder.at(Place("x", "", "the input x"))
        x = builder.input("x")
        builder.at(Place("node_7", "stem", "Conv at layer 'stem'"))
        builder.output(builder.conv2d(x, weight, padding=(1, 1, 1, 1)))
    module, origins = builder.module(), builder.origins

Every operator raises UnsupportedError, naming the place, for what cannot be compiled. A window's
padding is (top, left, bottom, right); constants are numpy arrays, weights [O, I / groups, KH, KW].
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import tvm
from numpy.typing import NDArray
from tvm import relax

from bnn_compiler.errors import ModelError, UnsupportedError
from bnn_compiler.frontend import elementwise
from bnn_compiler.frontend.oracle import Levels, Origin
from bnn_compiler.frontend.value import Place, Value, channels_last, is_image, squeeze_equal
from bnn_compiler.ops import relax_ops as ops
from bnn_compiler.ops.window import Window

Constant = NDArray[Any]
Pair = Sequence[int]


class Builder:
    """A module of one function ``main``; ``inputs`` are its inputs' names and shapes."""

    def __init__(self, inputs: Mapping[str, Sequence[int]]) -> None:
        ops.register()
        #: Of each variable's name that is a value of the framework's: which.
        self.origins: dict[str, Origin] = {}
        self._params = {
            name: relax.Var(name, relax.TensorType(list(shape), "float32"))
            for name, shape in inputs.items()
        }
        self._results: list[relax.Expr] = []
        self._place = Place("", "", "the network")
        self._bb = relax.BlockBuilder()

    @contextmanager
    def main(self) -> Iterator[None]:
        """Within, operators are added. Raises ModelError if there is no output at its end."""
        bb = self._bb
        with bb.function("main"):
            try:
                with bb.dataflow():
                    yield
                    if not self._results:
                        raise ModelError("the network has no output")
                    one = len(self._results) == 1
                    out = bb.emit_output(self._results[0] if one else relax.Tuple(self._results))
                bb.emit_func_output(out, list(self._params.values()))
            except BaseException:
                # TVM would report the function's block as left open.
                bb._end_block()
                raise

    def module(self) -> tvm.IRModule:
        """What was written, once ``main`` is left."""
        return self._bb.get()

    def at(self, place: Place) -> None:
        """Operators from here on, their names and their errors, belong to ``place``."""
        self._place = place

    def fail(self, why: str) -> UnsupportedError:
        """The error for the current place."""
        return UnsupportedError(f"{self._place.text}: {why}")

    def remember(
        self, value: Value, name: str, source: str = "", levels: Levels | None = None
    ) -> None:
        """Note that ``value`` is the framework's value ``name``, the sign of ``source`` if given.

        A variable is the first that it is said to be.
        """
        for form, last in value.forms:
            origin = Origin(name, form.stored, source, levels, last=last)
            self.origins.setdefault(form.expr.name, origin)

    def input(self, name: str, extra: Sequence[int] = (), dtype: str = "float32") -> Value:
        """One of the inputs; of the shape ``extra`` one more, or in its place one of ``dtype``."""
        if extra:
            self._params[name] = relax.Var(name, relax.TensorType(list(extra), dtype))
        var = self._params[name]
        shape = ops.shape_of(var)
        if len(shape) == 4 and dtype == "float32":
            return self.emit(relax.op.permute_dims(var, [0, 2, 3, 1]))
        if len(shape) == 2 and dtype == "float32":
            image = self._bb.emit(relax.op.reshape(var, [*shape, 1, 1]))
            return self.emit(relax.op.permute_dims(image, [0, 2, 3, 1]), True)
        if shape:
            return Value(var, plain=True)
        raise self.fail("an input has shape []; give it a dimension")

    def output(self, value: Value) -> None:
        """Add an output, in the shape that the framework sees."""
        if value.plain:
            return self._results.append(value.expr)
        nchw = relax.op.permute_dims(value.expr, [0, 3, 1, 2])
        result = self._bb.emit(nchw, name_hint="output")
        if value.flat:
            flat = relax.op.reshape(result, list(value.shape))
            result = self._bb.emit(flat, name_hint="output")
        self._results.append(result)

    def emit(self, expr: relax.Expr, flat: bool = False, name: str = "") -> Value:
        """Bind ``expr`` to a variable named after its layer; without one, after the value."""
        name = name or self._place.layer or self._place.name
        # Two underscores are for what passes derive from a value (ops/graph.py).
        plain = re.sub(r"[^A-Za-z0-9]+", "_", name)
        return Value(self._bb.emit(expr, name_hint=plain), flat)

    # ---- convolutions

    def conv2d(
        self,
        x: Value,
        weight: Constant,
        bias: Constant | None = None,
        *,
        strides: Pair = (1, 1),
        padding: Sequence[int] = (0, 0, 0, 0),
        dilation: Pair = (1, 1),
        groups: int = 1,
    ) -> Value:
        """A convolution, plus ``bias`` [O]; padded with 0."""
        self._check_window(x, weight.shape[2:], strides, padding, dilation)
        if weight.shape[1] * groups != x.channels:
            raise self.fail(f"a weight of {list(weight.shape)} for {x.channels} channels")
        y = relax.op.nn.conv2d(
            x.expr,
            channels_last(weight),
            strides=list(strides),
            padding=list(padding),
            dilation=list(dilation),
            groups=groups,
            data_layout="NHWC",
            kernel_layout="OHWI",
        )
        return self._plus_bias(self.emit(y), bias)

    def linear(self, x: Value, weight: Constant, bias: Constant | None = None) -> Value:
        """x [N, F] times ``weight`` [O, F], plus ``bias`` [O]."""
        if weight.ndim != 2 or not x.flat:
            raise self.fail("needs a constant weight and a [N, F] input")
        _, h, w, c = ops.shape_of(x.expr)
        if weight.shape[1] != h * w * c:
            raise self.fail(f"a weight of {list(weight.shape)} for {h * w * c} features")
        kernel = channels_last(weight.reshape(weight.shape[0], c, h, w))
        y = relax.op.nn.conv2d(x.expr, kernel, data_layout="NHWC", kernel_layout="OHWI")
        return self._plus_bias(self.emit(y, True), bias)

    def _plus_bias(self, y: Value, bias: Constant | None) -> Value:
        return y if bias is None else self.affine(y, np.ones_like(bias), bias)

    # ---- element-wise operators

    def per_channel(self, constant: Constant, like: Value) -> tuple[Value, Constant]:
        """``like``, and a constant that broadcasts along everything but its channels, as [C].

        A flat value whose features are no channels becomes a vector first.
        """
        if constant.size == 1:
            return like, np.full(like.channels, constant.item(), np.float32)
        if like.flat:
            like = self.vector(like)
        constant = squeeze_equal(constant)
        wanted = (like.channels,) if like.flat else (like.channels, 1, 1)
        padded = (1,) * (len(wanted) + 1 - constant.ndim) + constant.shape
        if padded != (1, *wanted):
            raise self.fail(
                "a constant operand must be a scalar or one value per channel"
                f" ({like.channels}), not of shape {tuple(constant.shape)}"
            )
        return like, np.ascontiguousarray(constant.reshape(-1), np.float32)

    def affine(self, x: Value, scale: Constant, bias: Constant) -> Value:
        """scale * x + bias, both [C]."""
        parts = [relax.const(np.ascontiguousarray(v, np.float32)) for v in (scale, bias)]
        return self.emit(ops.call_op("affine", [x.expr, *parts]), x.flat)

    def batch_norm(
        self,
        x: Value,
        gamma: Constant | None,
        beta: Constant | None,
        mean: Constant,
        var: Constant,
        eps: float,
    ) -> Value:
        """By fixed statistics; all [C]."""
        inverse = 1.0 / np.sqrt(var.astype(np.float64) + eps)
        scale = inverse if gamma is None else gamma.astype(np.float64) * inverse
        bias = -mean.astype(np.float64) * scale
        bias = bias + (0.0 if beta is None else beta.astype(np.float64))
        return self.affine(self.vector(x) if x.flat else x, scale, bias)

    def add(self, a: Value | Constant, b: Value | Constant, factor: float = 1) -> Value:
        """a + factor * b; one of them may be a scalar or one value per channel."""
        if not isinstance(a, Value):
            return self._plus(self._computed(b), factor, a)
        if not isinstance(b, Value):
            return self._plus(a, 1, factor * b)
        return elementwise.combine(self, "add", a, self._times(b, factor))

    def _times(self, x: Value, factor: float) -> Value:
        n = x.channels
        return x if factor == 1 else self.affine(x, np.full(n, factor), np.zeros(n))

    def _plus(self, x: Value, factor: float, constant: Constant) -> Value:
        """factor * x + constant, which may differ by channel or by place."""
        if not is_image(constant, x):
            x, c = self.per_channel(constant, x)
            return self.affine(x, np.full_like(c, factor), c)
        whole = channels_last(np.broadcast_to(constant, x.shape))
        return self.emit(relax.op.add(self._times(x, factor).expr, whole))

    def multiply(self, a: Value | Constant, b: Value | Constant) -> Value:
        """a * b; one of them may be a scalar or one value per channel."""
        for x, c in ((a, b), (b, a)):
            if not isinstance(c, Value):
                value, scale = self.per_channel(c, self._computed(x))
                return self.affine(value, scale, np.zeros_like(scale))
        return elementwise.combine(self, "multiply", self._computed(a), self._computed(b))

    def divide(self, a: Value | Constant, b: Value | Constant) -> Value:
        """a / b; one of them may be a scalar or one value per channel."""
        if isinstance(b, Value) and isinstance(a, Value):
            return elementwise.combine(self, "divide", a, b)
        if isinstance(b, Value):
            return self.multiply(elementwise.function(self, "reciprocal", b), a)
        value, divisor = self.per_channel(b, self._computed(a))
        with np.errstate(divide="ignore"):
            return self.affine(value, 1.0 / divisor.astype(np.float64), np.zeros_like(divisor))

    def clip(self, x: Value, low: float = -np.inf, high: float = np.inf) -> Value:
        """min(max(x, low), high)."""
        return self.emit(relax.op.clip(x.expr, low, high), x.flat)

    def prelu(self, x: Value, slope: Constant) -> Value:
        """x where it is positive, else slope * x; a scalar or one value per channel."""
        x, slopes = self.per_channel(slope if x.flat else slope.reshape(-1, 1, 1), x)
        return self.emit(relax.op.nn.prelu(x.expr, relax.const(slopes), axis=3), x.flat)

    def leaky_relu(self, x: Value, slope: float) -> Value:
        """PReLU with one slope."""
        return self.prelu(x, np.asarray(slope, np.float32))

    def sign(self, x: Value, zero: int) -> Value:
        """-1 or +1; ``zero`` (-1, 0 or +1) where x is 0. The variable bears the value's name."""
        expr = ops.call_op("sign", [x.expr], zero=zero)
        return self.emit(expr, x.flat, self._place.name)

    def _computed(self, operand: Value | Constant) -> Value:
        if isinstance(operand, Value):
            return operand
        raise self.fail("needs a computed tensor here, not a constant")

    # ---- pools

    def max_pool2d(
        self,
        x: Value,
        kernel: Pair,
        *,
        strides: Pair,
        padding: Sequence[int] = (0, 0, 0, 0),
        dilation: Pair = (1, 1),
    ) -> Value:
        """Padded with -inf."""
        self._check_window(x, kernel, strides, padding, dilation)
        sizes = {"strides": list(strides), "padding": list(padding), "dilation": list(dilation)}
        return self.emit(relax.op.nn.max_pool2d(x.expr, list(kernel), **sizes, layout="NHWC"))

    def avg_pool2d(
        self,
        x: Value,
        kernel: Pair,
        *,
        strides: Pair,
        padding: Sequence[int] = (0, 0, 0, 0),
        count_include_pad: bool = True,
    ) -> Value:
        """Padded with 0, which counts or not."""
        self._check_window(x, kernel, strides, padding, (1, 1))
        sizes = {"strides": list(strides), "padding": list(padding)}
        pool = relax.op.nn.avg_pool2d
        counted = {"count_include_pad": count_include_pad}
        return self.emit(pool(x.expr, list(kernel), **sizes, **counted, layout="NHWC"))

    def global_mean(self, x: Value, *, flat: bool = False) -> Value:
        """The mean over height and width: [N, C, 1, 1], or [N, C] if ``flat``."""
        self._check_image(x)
        return self.emit(relax.op.mean(x.expr, [1, 2], keepdims=True), flat)

    def _check_image(self, x: Value) -> None:
        if x.flat:
            raise self.fail(f"needs an image [N, C, H, W], not {list(x.shape)}")

    def _check_window(
        self, x: Value, kernel: Pair, strides: Pair, padding: Sequence[int], dilation: Pair
    ) -> None:
        self._check_image(x)
        if min(padding) < 0:
            raise self.fail(f"padding {list(padding)}; only widths from 0 on can be compiled")
        sizes = {"strides": strides, "padding": padding, "dilation": dilation}
        if min(Window.of(sizes, kernel).size(*x.shape[2:])) < 1:
            raise self.fail(f"a window of {list(kernel)} is larger than {list(x.shape[2:])}")

    def reshape(self, x: Value, shape: Sequence[int]) -> Value:
        """The elements in the framework's order as a tensor of 2 or 4 dimensions."""
        shape = tuple(shape)
        if len(shape) not in (2, 4):
            raise self.fail(
                f"{list(x.shape)} becomes {list(shape)}; tensors of 2 or 4 dimensions can be"
                " compiled"
            )
        if np.prod(shape) != np.prod(x.shape):
            raise self.fail(f"{list(x.shape)} cannot become {list(shape)}")
        for flat in (False, True):
            same = replace(x, flat=flat)
            if same.shape == shape:
                return same
        return self._moved(x, shape)

    def flatten(self, x: Value) -> Value:
        """[N, C, H, W] as [N, C*H*W]."""
        return replace(x, flat=True)

    def vector(self, x: Value) -> Value:
        """A flat value with one channel per feature, in the framework's order: [N, 1, 1, F]."""
        return x if x.is_vector else self._moved(x, x.shape)

    def _moved(self, x: Value, shape: Sequence[int]) -> Value:
        """The elements as a tensor of 2 or 4 dimensions, moved in memory."""
        full = [*shape, *[1] * (4 - len(shape))]
        nchw = self._bb.emit(relax.op.permute_dims(x.expr, [0, 3, 1, 2]))
        moved = self._bb.emit(relax.op.reshape(nchw, full))
        return self.emit(relax.op.permute_dims(moved, [0, 2, 3, 1]), len(shape) == 2)

    def concat(self, values: Sequence[Value]) -> Value:
        """Concatenation of channels or of features."""
        flat = values[0].flat
        if flat:
            values = [self.vector(v) for v in values]
        if len({(v.flat, ops.shape_of(v.expr)[:3]) for v in values}) > 1:
            raise self.fail("its inputs differ in more than their channels")
        return self.emit(relax.op.concat([v.expr for v in values], axis=3), flat)

    def channels(self, x: Value, start: int, count: int) -> Value:
        """``count`` channels, or features, from ``start`` on; after the last comes the first."""
        x = self.vector(x) if x.flat else x
        return self.emit(ops.anchor("tile", [x.expr], start=start, channels=count), x.flat)

    def pad_channels(self, x: Value, before: int, after: int, fill: float = 0.0) -> Value:
        """More channels, or features, of one number."""
        x = self.vector(x) if x.flat else x
        attrs: dict[str, Any] = {"before": before, "after": after, "pad_value": fill}
        return self.emit(ops.anchor("pad_channels", [x.expr], **attrs), x.flat)

    def pad(self, x: Value, widths: Sequence[int], fill: float = 0.0) -> Value:
        """Height and width padded by (top, left, bottom, right) with one number."""
        self._check_window(x, (1, 1), (1, 1), widths, (1, 1))
        top, left, bottom, right = widths
        pairs = [0, 0, top, bottom, left, right, 0, 0]
        return self.emit(relax.op.nn.pad(x.expr, pairs, pad_value=fill))

    def resize2d(
        self,
        x: Value,
        size: Pair,
        method: str,
        transform: str,
        factors: Sequence[float] = (0.0, 0.0),
    ) -> Value:
        """Images of ``size`` (height, width); ops/resize.py has the methods and transforms.

        ``factors`` are how far the samples lie apart; 0 means the quotient of the sizes.
        """
        self._check_image(x)
        attrs: dict[str, Any] = {"method": method, "transform": transform}
        attrs |= {"size": list(size), "factors": list(factors)}
        return self.emit(ops.anchor("resize2d", [x.expr], **attrs))
