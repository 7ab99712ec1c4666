"""The epilogue as TE: a value per output element becomes float32 and packed-bit tensors."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import tvm
from tvm import te, tirx

from bnn_compiler.kernels import functions
from bnn_compiler.kernels.layout import LANES, Layout
from bnn_compiler.ops.epilogue import Epilogue, Output, Step
from bnn_compiler.ops.functions import FUNCTIONS
from bnn_compiler.ops.rounding import round_up
from bnn_compiler.ops.storage import Storage

Index = tuple[tvm.ir.Expr, tvm.ir.Expr, tvm.ir.Expr, tvm.ir.Expr]
Value = Callable[..., tvm.ir.Expr]


def f32(value: float) -> tvm.ir.Expr:
    """A float32 literal."""
    return tirx.const(value, "float32")


def fma(a: tvm.ir.Expr, b: tvm.ir.Expr, c: tvm.ir.Expr) -> tvm.ir.Expr:
    """a * b + c with one rounding, on every target."""
    return tirx.op.fma(a, b, c)


def product(a: tvm.ir.Expr, b: tvm.ir.Expr) -> tvm.ir.Expr:
    """a * b, rounded: LLVM contracts a plain product with a later sum where the target has FMA."""
    return tirx.op.fma(a, b, f32(0))


class Pixels(Protocol):
    """Pixels of all images as the rows of a matrix."""

    @property
    def count(self) -> int:
        """Rows."""
        ...

    def pixel(self, row: tvm.ir.Expr) -> tuple[tvm.ir.Expr, tvm.ir.Expr, tvm.ir.Expr]:
        """(n, y, x) of one."""
        ...


@dataclass
class Stages:
    """The TE tensors of one kernel.

    ``params`` are its parameters in order; ``value`` the float32 result [N, OH, OW, OP], stored
    or not; ``bits`` one uint16 tensor [N, OH, OW, OP/16] per packed output with its compare;
    ``quantized`` one uint8 tensor [N, OH, OW, OP] per output of bytes; ``reduction`` the
    accumulator stage, if the anchor has one.
    """

    params: list[te.Tensor]
    value: te.Tensor
    bits: list[tuple[te.Tensor, str]] = field(default_factory=list)
    reduction: te.Tensor | None = None
    outputs: list[te.Tensor] = field(default_factory=list)
    quantized: list[te.Tensor] = field(default_factory=list)


def placeholder(layout: Layout, name: str) -> te.Tensor:
    """A parameter that covers the stored tensor, halo included; halves as their bits."""
    dtype = "uint16" if layout.storage is Storage.FLOAT16 else layout.dtype
    return te.placeholder(layout.physical, dtype, name=name)


def read(tensor: te.Tensor, layout: Layout) -> Value:
    """``tensor`` at logical indices: the halo lies at negative ones."""
    top, left, _, _ = layout.halo
    if layout.storage is Storage.FLOAT16:
        return lambda n, y, x, c: tirx.call_pure_extern(
            "float32", "bnn_from_half", tensor[n, y + top, x + left, c]
        )
    return lambda n, y, x, c: tensor[n, y + top, x + left, c]


def stored(value: te.Tensor, out: Output, name: str) -> te.Tensor:
    """``value`` as an output holds it: itself, or a copy of halves."""
    if not out.half:
        return value
    return te.compute(
        value.shape,
        lambda *at: tirx.call_pure_extern("uint16", "bnn_to_half", value[at]),
        name=name,
    )


def finish(
    shape: tuple[int, int, int, int],
    anchor: Value,
    epilogue: Epilogue,
    tensors: list[Layout | None],
    inputs: list[te.Tensor],
    reduction: te.Tensor | None = None,
    rows: "Pixels | None" = None,
) -> Stages:
    """Append epilogue and outputs to ``anchor``, a function of (n, y, x, c).

    With ``rows`` value and outputs are [1, 1, rows, ...]: ``anchor`` is asked at (0, 0, row, c).

    ``tensors`` gives, for each epilogue operand, its layout, or None for a per-channel vector.
    """
    n, h, w, c = shape
    lanes = round_up(c, LANES)
    if rows is not None:
        n, h, w = 1, 1, rows.count
    operands = [
        te.placeholder((lanes,), "float32", name=f"v{i}")
        if layout is None
        else placeholder(layout, f"t{i}")
        for i, layout in enumerate(tensors)
    ]

    def compute(*index: tirx.Var) -> tvm.ir.Expr:
        v = anchor(*index)
        if rows is not None:
            index = (*rows.pixel(index[2]), index[3])
        for step in epilogue.steps:
            v = _apply(step, v, operands, tensors, shape, index)
        return v

    value = te.compute((n, h, w, lanes), compute, name="value")
    stages = Stages([*inputs, *operands], value, reduction=reduction)
    for i, out in enumerate(epilogue.outputs):
        if out.is_bits:
            packed = _pack(value, operands[out.threshold], out.compare, f"bits{i}")
            stages.bits.append((packed, out.compare))
        elif out.is_bytes:
            packed = _quantize(value, operands[out.factor], operands[out.zero], f"bytes{i}")
            stages.quantized.append(packed)
        whole = stored(value, out, f"half{i}")
        stages.outputs.append(packed if out.is_bits or out.is_bytes else whole)
    return stages


def to_bytes(v: tvm.ir.Expr, factor: tvm.ir.Expr, zero: tvm.ir.Expr) -> tvm.ir.Expr:
    """uint8 fma(v, factor, zero), kept in [0, 255], rounded half to even; 0 for NaN."""
    scaled = fma(v, factor, zero)
    positive = tirx.Select(scaled > f32(0), scaled, f32(0))
    inside = tirx.Select(positive < f32(255), positive, f32(255))
    # From 2^23 on floats are whole numbers: the sum is rounded to one, its last byte is the result.
    return tirx.reinterpret("int32", inside + f32(2**23)).astype("uint8")


def _quantize(value: te.Tensor, factor: te.Tensor, zero: te.Tensor, name: str) -> te.Tensor:
    """uint8 [N, OH, OW, OP]."""
    return te.compute(
        value.shape, lambda *at: to_bytes(value[at], factor[at[3]], zero[at[3]]), name=name
    )


def _pack(value: te.Tensor, threshold: te.Tensor, compare: str, name: str) -> te.Tensor:
    """uint16 [N, OH, OW, OP/16]: bit b of word g is ``value[16 g + b] compare threshold``.

    The form is what the intrinsics of pack_intrinsics.py match.
    """
    n, h, w, lanes = value.shape
    lane = te.reduce_axis((0, LANES), "lane")
    either = te.comm_reducer(lambda a, b: a | b, lambda t: tirx.const(0, t), name="either")

    def pack(i, y, x, g):  # type: ignore[no-untyped-def]
        at = g * LANES + lane
        v, t = value[i, y, x, at], threshold[at]
        bit = (v >= t if compare == ">=" else v > t).astype("uint16")
        return either(tirx.shift_left(bit, lane.var.astype("uint16")), axis=[lane])

    return te.compute((n, h, w, lanes // LANES), pack, name=name)


@dataclass(frozen=True)
class Shortcut:
    """A step's tensor operand: its value at (n, y, x, c), its channels.

    ``spread`` is its value where a dimension of 1 is repeated along that of the result.
    """

    at: Value
    channels: int
    spread: Value


def _add_tile(v: tvm.ir.Expr, index: Index, t: Shortcut) -> tvm.ir.Expr:
    n, y, x, c = index
    return v + t.at(n, y, x, tirx.floormod(c, t.channels))


def _add_pad(v: tvm.ir.Expr, index: Index, t: Shortcut) -> tvm.ir.Expr:
    n, y, x, c = index
    last = round_up(t.channels, LANES) // LANES - 1
    # Beyond its channels a vector of the tensor is read again, so that each is one whole load.
    inside = tirx.min(tirx.floordiv(c, LANES), last) * LANES + tirx.floormod(c, LANES)
    return v + tirx.Select(c < t.channels, t.at(n, y, x, inside), f32(0))


def _add_avg2_tile(v: tvm.ir.Expr, index: Index, t: Shortcut) -> tvm.ir.Expr:
    n, y, x, c = index
    return _add_avg2(v, (n, y, x, tirx.floormod(c, t.channels)), t)


def _add_avg2(v: tvm.ir.Expr, index: Index, t: Shortcut) -> tvm.ir.Expr:
    n, y, x, c = index
    taps = [t.at(n, y * 2 + i, x * 2 + j, c) for i in (0, 1) for j in (0, 1)]
    # Starts from 0 like the reference: 0 + (-0) is +0.
    total = f32(0) + taps[0]
    for tap in taps[1:]:
        total = total + tap
    return v + product(total, f32(0.25))


def _sign(v: tvm.ir.Expr, _: Index, zero: float) -> tvm.ir.Expr:
    below = tirx.Select(v < f32(0), f32(-1), f32(zero))
    return tirx.Select(v > f32(0), f32(1), below)


def _chosen(better: type, v: tvm.ir.Expr, t: tvm.ir.Expr) -> tvm.ir.Expr:
    return tirx.Select(better(t, v), t, v)


def _function(name: str) -> Callable[..., tvm.ir.Expr]:
    return lambda v, _, *params: functions.call(name, v, params)


#: Each kind of ops/epilogue.py's STEPS: (value, index, *operands, *params) -> value. An operand is
#: a Shortcut, or the element of a per-channel vector.
FORMS: dict[str, Callable[..., tvm.ir.Expr]] = {
    "affine": lambda v, _, scale, bias: fma(v, scale, bias),
    "bias": lambda v, _, bias: v + bias,
    "add": lambda v, index, t: v + t.spread(*index),
    "add_tile": _add_tile,
    "add_pad": _add_pad,
    "add_avg2": _add_avg2,
    "add_avg2_tile": _add_avg2_tile,
    "prelu": lambda v, _, slope: tirx.Select(v > f32(0), v, product(v, slope)),
    "clip": lambda v, _, lo, hi: tirx.min(tirx.max(v, f32(lo)), f32(hi)),
    "multiply": lambda v, index, t: product(v, t.spread(*index)),
    "divide": lambda v, index, t: tirx.Div(v, t.spread(*index)),
    "divide_into": lambda v, index, t: tirx.Div(t.spread(*index), v),
    "minimum": lambda v, index, t: _chosen(tirx.LT, v, t.spread(*index)),
    "maximum": lambda v, index, t: _chosen(tirx.GT, v, t.spread(*index)),
    "sign": _sign,
    **{name: _function(name) for name in FUNCTIONS},
}


def _apply(
    step: Step,
    v: tvm.ir.Expr,
    operands: list[te.Tensor],
    layouts: list[Layout | None],
    shape: tuple[int, int, int, int],
    index: Index,
) -> tvm.ir.Expr:
    def operand(i: int) -> Shortcut | tvm.ir.Expr:
        layout = layouts[i]
        if not step.reads_tensor:
            return operands[i][index[3]]
        assert layout is not None
        at, sizes = read(operands[i], layout), layout.shape

        def spread(*where: tvm.ir.Expr) -> tvm.ir.Expr:
            repeated = [s == 1 and whole > 1 for s, whole in zip(sizes, shape, strict=True)]
            return at(*(0 if r else w for r, w in zip(repeated, where, strict=True)))

        return Shortcut(at, sizes[3], spread)

    return FORMS[step.kind](v, index, *map(operand, step.operands), *step.params)
