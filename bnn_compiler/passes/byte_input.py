"""ByteInput: images come as bytes; the normalisation moves into the first convolution's weights."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tvm
from tvm import relax

from bnn_compiler.errors import InputError
from bnn_compiler.ops import relax_ops as ops
from bnn_compiler.ops.epilogue import Epilogue, Output, Step
from bnn_compiler.ops.graph import Graph, array, derived
from bnn_compiler.ops.window import Window

#: A convolution is computed in integers if that keeps it this close, relative to the largest sum
#: its weights allow; else the bytes are normalised in float32 first.
TOLERANCE = 2.0**-14


@dataclass(frozen=True)
class Normalization:
    """x = (byte / 255 - mean) / std per channel, torchvision's convention; one value fits all."""

    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)

    def affine(self, channels: int) -> tuple[np.ndarray, np.ndarray]:
        """float64 (scale [C], bias [C]) with x = scale * byte + bias.

        Raises InputError for a wrong number of values or a std that is not positive.
        """
        found = []
        for name, values in (("mean", self.mean), ("std", self.std)):
            if len(values) not in (1, channels):
                raise InputError(f"{name} has {len(values)} values, the input {channels} channels")
            found.append(np.broadcast_to(np.asarray(values, np.float64), channels))
        mean, std = found
        if not np.all(np.isfinite(mean)) or not np.all(np.isfinite(std)) or std.min() <= 0:
            raise InputError(f"mean {self.mean} and std {self.std} must be finite, std positive")
        return 1 / (255 * std), -mean / std

    def apply(self, x: np.ndarray) -> np.ndarray:
        """Bytes [N, C, H, W] as the float32 the network was trained on."""
        scale, bias = self.affine(x.shape[1])
        shape = (-1, *(1,) * (x.ndim - 2))
        result: np.ndarray = x * scale.reshape(shape) + bias.reshape(shape)
        return result.astype(np.float32)

    def bytes_of(self, x: np.ndarray) -> np.ndarray:
        """The nearest bytes to normalised images [N, C, H, W]."""
        scale, bias = self.affine(x.shape[1])
        shape = (-1, *(1,) * (x.ndim - 2))
        values = (x.astype(np.float64) - bias.reshape(shape)) / scale.reshape(shape)
        return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def normalization_of(
    input_dtype: str, mean: Sequence[float], std: Sequence[float]
) -> Normalization | None:
    """None for "float32".

    Raises InputError for a dtype that is neither that nor "uint8", and for a mean or std that
    would not be used.
    """
    if input_dtype not in ("float32", "uint8"):
        raise InputError(f"input_dtype {input_dtype!r}; known: 'float32', 'uint8'")
    found = Normalization(tuple(mean), tuple(std))
    if input_dtype == "uint8":
        return found
    if found != Normalization():
        raise InputError("mean and std are for input_dtype 'uint8'; float32 comes normalised")
    return None


@dataclass(frozen=True)
class Quantized:
    """16-bit weights: value = scale[o] * sum(weights * bytes) + bias taps; ``error`` is a bound.

    ``bias`` [O, KH, KW] is what a tap inside the image adds. ``error`` bounds the difference to
    exact arithmetic relative to the largest sum that weights and bytes allow.
    """

    weights: np.ndarray
    scale: np.ndarray
    bias: np.ndarray
    error: float


def quantize(w: np.ndarray, normalization: Normalization) -> Quantized:
    """Weights [O, KH, KW, C] of a convolution of normalised bytes, for 32-bit accumulators.

    The error of weights that are not finite is infinite.
    """
    a, b = normalization.affine(w.shape[3])
    if not np.isfinite(w).all():
        return Quantized(np.zeros(w.shape, np.int16), w[:, 0, 0, 0], w.sum(axis=3), np.inf)
    exact = w.astype(np.float64) * a
    total = np.abs(exact).sum(axis=(1, 2, 3))
    largest = np.abs(exact).max(axis=(1, 2, 3))
    some = total > 0
    step = np.ones(len(w))
    # Rounding adds half to each of the weights at most.
    limit = (2.0**31 - 1) / 255 - exact[0].size / 2
    step[some] = np.maximum(largest[some] / 32767, total[some] / limit)
    scale = step.astype(np.float32)
    integers = np.rint(exact / step[:, None, None, None]).astype(np.int16)
    back = integers * scale.astype(np.float64)[:, None, None, None]
    # The sum is rounded once when it becomes float32.
    lost = np.abs(back - exact).sum(axis=(1, 2, 3)) + 2.0**-24 * total
    error = float((lost[some] / total[some]).max()) if some.any() else 0.0
    return Quantized(integers, scale, (w * b).sum(axis=3), error)


class ByteInput:
    """Float image inputs become uint8.

    float_conv2d(normalise(x), w)        ->  byte_conv2d(x, w16, scale, bias)
    image_bytes(normalise(x))            ->  permute_dims(x)
    f(normalise(x)) for any other f      ->  f(bytes(x; "affine"))
    """

    def __init__(self, normalization: Normalization) -> None:
        self.normalization = normalization

    def __call__(self, module: tvm.IRModule) -> tvm.IRModule:
        graph = Graph.of(module)
        for index, param in enumerate(graph.params):
            shape = ops.shape_of(param)
            if len(shape) != 4:
                raise InputError(
                    f"input {param.name} has shape {list(shape)}; bytes are for images"
                )
            graph.set_param(index, self._rewrite(graph, param, shape))
        return graph.module()

    def _rewrite(self, graph: Graph, param: relax.Var, shape: Sequence[int]) -> relax.Var:
        byte_param = relax.Var(param.name, relax.TensorType(list(shape), "uint8"))
        for image in graph.users(param):
            if ops.is_op(graph.values[image], "relax.bnn.image_bytes"):
                # passes/quantize_rest.py makes bytes of what is normalised as it was made of them.
                graph.set(image, relax.op.permute_dims(byte_param, [0, 2, 3, 1]))
                continue
            nhwc = relax.TensorType([shape[0], shape[2], shape[3], shape[1]], "uint8")
            bytes_ = relax.DataflowVar(derived(image.name, "bytes"), nhwc)
            moved = relax.op.permute_dims(byte_param, [0, 2, 3, 1])
            convolutions = self._convolutions(graph, image, bytes_)
            scale, bias = (
                relax.const(v.astype(np.float32)) for v in self.normalization.affine(shape[1])
            )
            normal = ops.anchor(
                "bytes", [bytes_], Epilogue((Step("affine", (0, 1)),), (Output(),)), [scale, bias]
            )
            graph.replace(image, [(bytes_, moved), (image, normal)])
            for var, call in convolutions.items():
                graph.set(var, call)
        return byte_param

    def _convolutions(
        self, graph: Graph, image: relax.Var, bytes_: relax.Var
    ) -> dict[relax.Var, relax.Call]:
        """Every reader of ``image`` on bytes; none unless all of them can be."""
        found = {}
        for user in graph.users(image):
            call = _byte_conv(graph.values[user], image, bytes_, self.normalization)
            if call is None:
                return {}
            found[user] = call
        return {} if image in graph.outputs else found


def _byte_conv(
    call: relax.Expr, image: relax.Var, bytes_: relax.Var, normalization: Normalization
) -> relax.Call | None:
    if ops.anchor_name(call) != "float_conv2d" or any(a.same_as(image) for a in call.args[1:]):
        return None
    attrs: dict[str, Any] = ops.anchor_attrs(call)
    window = Window.of(call.attrs)
    if window.groups != 1 or window.dilation[1] != 1:
        return None
    q = quantize(array(call.args[1]), normalization)
    if not q.error <= TOLERANCE:
        return None
    data = [relax.const(v) for v in (q.weights, q.scale, q.bias)]
    return ops.anchor(
        "byte_conv2d", [bytes_, *data], ops.epilogue_of(call), list(call.args[2:]), **attrs
    )
