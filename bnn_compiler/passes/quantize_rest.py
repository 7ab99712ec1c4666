"""QuantizeRest: convolutions that are not binary run on bytes with 8-bit weights."""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import tvm
from numpy.typing import NDArray
from tvm import relax

from bnn_compiler.errors import InputError
from bnn_compiler.ops import relax_ops as ops
from bnn_compiler.ops.epilogue import Epilogue, Output
from bnn_compiler.ops.graph import Graph, array, base_name, constant, derived
from bnn_compiler.ops.operators import OPERATORS
from bnn_compiler.passes.byte_input import Normalization

#: Products of a byte and a weight whose sum fits 32 bits.
_TAPS = (2**31 - 1) // (255 * 128)
#: How near to whole numbers of steps weights are that were rounded to a grid: float32 is.
_ON_GRID = 2.0**-14


@dataclass(frozen=True)
class Range:
    """What the input of ``layer`` is between; bytes cover it, and 0, which is a byte exactly."""

    layer: str
    low: float
    high: float

    @property
    def step(self) -> float:
        """The difference between two bytes, which is positive."""
        width = max(self.high, 0.0) - min(self.low, 0.0)
        # Its reciprocal is a float32.
        return width / 255 if width > 255 * 2.0**-126 else 1.0

    @property
    def zero(self) -> int:
        """The byte that is 0."""
        return int(np.clip(np.rint(-min(self.low, 0.0) / self.step), 0, 255))


@dataclass(frozen=True)
class Quantized:
    """8-bit weights: value = scale[o] * sum(weights * bytes) + bias of the taps in the image."""

    weights: NDArray[np.int8]
    scale: NDArray[np.float32]
    bias: NDArray[np.float64]


def quantize(
    w: NDArray[np.float32], step: float | NDArray[np.float64], zero: float | NDArray[np.float64]
) -> Quantized:
    """Finite weights [O, KH, KW, C/groups] of a convolution of x = step * (byte - zero).

    ``step`` and ``zero`` are numbers, or one for each weight. Weights are symmetric in each output
    channel: the largest is 127, unless they are whole numbers of steps of their own.
    """
    exact = w.astype(np.float64) * step
    largest = np.abs(exact).max(axis=(1, 2, 3))
    levels = np.array([_levels(one) or 127 for one in exact.reshape(len(exact), -1)])
    scale = np.where(largest > 0, largest / levels, 1.0).astype(np.float32)
    # A scale that is 0 in float32 belongs to weights that are nothing.
    scale = np.where(scale > 0, scale, np.float32(1))
    whole = np.rint(exact / scale.astype(np.float64)[:, None, None, None])
    integers = np.clip(whole, -128, 127).astype(np.int8)
    bias = -(integers * zero).sum(axis=3) * scale.astype(np.float64)[:, None, None]
    return Quantized(integers, scale, bias)


def has_levels(w: NDArray[np.float32]) -> bool:
    """Whether weights [O, ...] were rounded to 8 bits, symmetric in each output channel."""
    return all(_levels(one) for one in w.astype(np.float64).reshape(len(w), -1))


def _levels(weights: NDArray[np.float64]) -> int | None:
    """The whole number of steps that the largest of a channel's weights is; None without a step."""
    low, high = float(weights.min()), float(weights.max())
    largest = max(-low, high)
    if largest == 0:
        return 127
    tried = np.array([127, 128, *range(126, 0, -1)])
    # A few weights say of most numbers that they are not it.
    few = tried[_on_grid(weights[:16] / largest, tried)]
    for levels in few[(few < 128) | (high / largest * few < 127.5)]:
        if _on_grid(weights / largest, levels[None])[0]:
            return int(levels)
    return None


def _on_grid(shares: NDArray[np.float64], levels: NDArray[np.int64]) -> NDArray[np.bool_]:
    """By which of ``levels`` all of ``shares`` are whole numbers."""
    grid = shares * levels[:, None]
    found: NDArray[np.bool_] = np.abs(grid - np.rint(grid)).max(axis=1) <= _ON_GRID
    return found


class QuantizeRest:
    """Convolutions of which ranges are known read bytes: of the image, or of any other value.

    relax.nn.conv2d(permute_dims(x), w)  ->  bnn.int8_conv2d(bnn.image_bytes(x), w8, scale, bias)
    relax.nn.conv2d(x, w)                ->  bnn.int8_conv2d(bnn.map(x; bytes), w8, scale, bias)
    """

    def __init__(
        self, ranges: Collection[Range], normalization: Normalization | None = None
    ) -> None:
        self.ranges = {r.layer: r for r in ranges}
        self.normalization = normalization

    def __call__(self, module: tvm.IRModule) -> tvm.IRModule:
        graph = Graph.of(module)
        made: dict[tuple[relax.Var, str], relax.Var] = {}
        for var, value in list(graph.values.items()):
            found = self.ranges.get(base_name(var.name))
            if found is not None and is_candidate(value):
                self._rewrite(graph, var, value, found, made)
        return graph.module()

    def _rewrite(
        self,
        graph: Graph,
        var: relax.Var,
        value: relax.Call,
        found: Range,
        made: dict[tuple[relax.Var, str], relax.Var],
    ) -> None:
        x, image = value.args[0], image_of(graph, value)
        step: NDArray[np.float64] = np.full(1, found.step)
        zero: NDArray[np.float64] = np.full(1, float(found.zero))
        if image is not None and self.normalization is not None:
            step, bias = self.normalization.affine(ops.shape_of(x)[3])
            zero = -bias / step
        channels = ops.shape_of(x)[3]
        vectors = [
            relax.const(np.broadcast_to(v, channels).astype(np.float32)) for v in (1 / step, zero)
        ]
        key = (x, repr((step, zero)))
        bindings = []
        if key not in made:
            called = derived(x.name, f"int8_{len(made)}" if made else "int8")
            shape = relax.TensorType(list(ops.shape_of(x)), "uint8")
            made[key] = relax.DataflowVar(called, shape)
            if image is not None:
                narrow = ops.call_op("image_bytes", [image, *vectors])
            else:
                narrow = ops.anchor("map", [x], Epilogue((), (Output("", -1, 0, 1),)), vectors)
            bindings.append((made[key], narrow))
        weights = array(value.args[1])
        groups = int(value.attrs.groups)
        # An output reads the channels of its group.
        group = np.arange(len(weights)) // (len(weights) // groups)
        reads = group[:, None] * weights.shape[3] + np.arange(weights.shape[3])
        q = quantize(
            weights,
            *(np.broadcast_to(v, channels)[reads][:, None, None, :] for v in (step, zero)),
        )
        shapes = [ops.shape_of(a) for a in value.args[:2]]
        attrs = OPERATORS["float_conv2d"].attributes(value.attrs, shapes)
        data = [made[key], *(relax.const(v) for v in (q.weights, q.scale, q.bias))]
        call = ops.anchor("int8_conv2d", data, **attrs)
        graph.replace(var, [*bindings, (var, call)])


def is_candidate(value: relax.Expr) -> bool:
    """Whether ``value`` is a float convolution that 32-bit sums of bytes can hold."""
    if not ops.is_op(value, "relax.nn.conv2d"):
        return False
    weights = constant(value.args[1])
    return (
        isinstance(value.args[0], relax.Var)
        and weights is not None
        and weights[0].size <= _TAPS
        and bool(np.isfinite(weights).all())
    )


def candidates(graph: Graph) -> dict[str, relax.Var]:
    """What each layer reads that could run on bytes, by the layer's name."""
    return {
        base_name(var.name): value.args[0]
        for var, value in graph.values.items()
        if is_candidate(value) and graph.is_live(var)
    }


def image_of(graph: Graph, value: relax.Call) -> relax.Var | None:
    """The network's input [N, C, H, W] that a convolution reads, if it reads one."""
    moved = graph.value(value.args[0])
    if moved is None or not ops.is_op(moved, "relax.permute_dims"):
        return None
    x = moved.args[0]
    inside = any(x.same_as(p) for p in graph.params)
    return x if inside and [int(a) for a in moved.attrs.axes] == [0, 2, 3, 1] else None


def check_names(wanted: Collection[str], known: Collection[str]) -> None:
    """Raise InputError for a name of a float layer that the network does not have."""
    for name in wanted:
        if name not in known:
            listed = ", ".join(sorted(known)) or "none"
            raise InputError(f"no layer {name!r} would run as int8; layers that would: {listed}")
