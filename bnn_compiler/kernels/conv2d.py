"""Convolutions as TE: exact binary by xor and popcount, and float32 in a defined order.

Weights are laid out for the tile: [block, ky, kx, word or channel, lane], where a block is the
tile's output channels.
"""

from dataclasses import dataclass

import numpy as np
from tvm import te, tirx

from bnn_compiler.kernels import schedule
from bnn_compiler.kernels.epilogue import Stages, Value, f32, finish, fma, placeholder
from bnn_compiler.kernels.grouping import Grouping, expand, merge
from bnn_compiler.kernels.layout import LANES, Layout
from bnn_compiler.ops.epilogue import Epilogue
from bnn_compiler.target import Hardware


@dataclass(frozen=True)
class ConvWorkload:
    """One convolution: input layout, output [N,OH,OW,O], window, groups and pad value (binary)."""

    x: Layout
    shape: tuple[int, int, int, int]
    kernel: tuple[int, int]
    strides: tuple[int, int]
    dilation: tuple[int, int]
    padding: tuple[int, int, int, int]
    groups: int
    pad_value: int = 0

    @property
    def macs(self) -> int:
        """Multiply-accumulates, padded taps counted."""
        per_output = self.x.shape[3] // self.groups * self.kernel[0] * self.kernel[1]
        return int(np.prod(self.shape)) * per_output


@dataclass(frozen=True)
class BinaryPlan:
    """The choices that fix a binary kernel's code and its weights' layout."""

    grouping: Grouping
    tile: schedule.Tile
    word: int
    classes: bool


def plan_binary(work: ConvWorkload, hardware: Hardware) -> BinaryPlan:
    """Word width, tile and grouping for ``work`` on ``hardware``."""
    grouping = merge(work.x.shape[3], work.shape[3], work.groups, 32)
    words = -(-grouping.inputs // 32)
    # Without a vector popcount LLVM sums bytes with vpsadbw, whose result is 64 bits wide.
    wide = hardware.popcount == "shuffle" and words % 2 == 0 and work.x.channels % 2 == 0
    word = 64 if wide else 32
    tile = schedule.choose_tile(work.shape[2], grouping.outputs // LANES, word, hardware)
    return BinaryPlan(grouping, tile, word, work.pad_value == 0 and any(work.padding))


def _axis_classes(work: ConvWorkload, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """Class of each output row (axis 0) or column (1), and the valid taps of each class."""
    size, extent = work.shape[1 + axis], work.x.shape[1 + axis]
    first = np.arange(size)[:, None] * work.strides[axis] - work.padding[axis]
    at = first + np.arange(work.kernel[axis]) * work.dilation[axis]
    valid = (at >= 0) & (at < extent)
    patterns, index = np.unique(valid, axis=0, return_inverse=True)
    return index.reshape(-1).astype(np.int32), patterns


def binary_constants(work: ConvWorkload, plan: BinaryPlan, signs: np.ndarray) -> list[np.ndarray]:
    """The kernel's constant parameters for int8 weights [O,KH,KW,C/groups] of -1/+1.

    Packed weights; masks if groups are merged; for zero padding the base table [cy, cx, O] with
    the row and column classes that index it. The integer is base - 2 * popcount.
    """
    wide, real = expand(signs, work.groups, plan.grouping)
    o, kh, kw, c = wide.shape
    bits = np.zeros((2, o, kh, kw, -(-c // plan.word) * plan.word), bool)
    bits[0, ..., :c], bits[1, ..., :c] = wide > 0, real
    packed = np.packbits(bits, axis=-1, bitorder="little").view(f"uint{plan.word}")
    lanes = plan.tile.vectors * LANES

    def blocked(w: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(
            w.reshape(o // lanes, lanes, *w.shape[1:]).transpose(0, 2, 3, 4, 1)
        )

    constants = [blocked(packed[0])]
    if plan.grouping.masked:
        constants.append(blocked(packed[1]))
    if plan.classes:
        (row, ys), (col, xs) = _axis_classes(work, 0), _axis_classes(work, 1)
        taps = real.sum(axis=-1, dtype=np.int64)
        ones = ((wide > 0) & real).sum(axis=-1, dtype=np.int64)
        base = np.empty((len(ys), len(xs), o), np.float32)
        for i, vy in enumerate(ys):
            for j, vx in enumerate(xs):
                valid = (vy[:, None] & vx[None, :])[None]
                # A padded tap has bits 0 and adds popcount(w) to the kernel's count.
                base[i, j] = np.where(valid, taps, 2 * ones).sum(axis=(1, 2))
        constants += [base, row, col]
    return constants


def binary(work: ConvWorkload, plan: BinaryPlan, epilogue: Epilogue, tensors: list) -> Stages:
    """popcount(x ^ w) summed over taps and words; then base - 2 * sum, exact in float32."""
    g, lanes = plan.grouping, plan.tile.vectors * LANES
    n, oh, ow, _ = work.shape
    per_word = plan.word // 32
    words = -(-g.inputs // plan.word)
    blocks_per_group = g.outputs // lanes
    blocks = g.merged * blocks_per_group
    dtype = f"uint{plan.word}"
    stored = work.x.physical
    x = te.placeholder((*stored[:3], stored[3] // per_word), dtype, name="x")
    shape = (blocks, *work.kernel, words, lanes)
    w = te.placeholder(shape, dtype, name="w")
    mask = te.placeholder(shape, dtype, name="mask") if g.masked else None
    at = _tap_index(work)
    ry, rx, rc = _reduce(*work.kernel, words)

    def count(i, y, z, b, lane):  # type: ignore[no-untyped-def]
        word = x[i, *at(y, ry, z, rx), b // blocks_per_group * words + rc]
        differ = word ^ w[b, ry, rx, rc, lane]
        if mask is not None:
            differ = differ & mask[b, ry, rx, rc, lane]
        return te.sum(tirx.popcount(differ), axis=[ry, rx, rc])

    acc = te.compute((n, oh, ow, blocks, lanes), count, name="acc")
    inputs = [x, w, *([mask] if mask is not None else [])]
    base: Value
    if plan.classes:
        (_, ys), (_, xs) = _axis_classes(work, 0), _axis_classes(work, 1)
        table = te.placeholder((len(ys), len(xs), blocks * lanes), "float32", name="base")
        rows = te.placeholder((oh,), "int32", name="row")
        cols = te.placeholder((ow,), "int32", name="col")
        inputs += [table, rows, cols]

        def base(i, y, z, c):  # type: ignore[no-untyped-def]
            return table[rows[y], cols[z], c]
    else:
        taps = work.x.shape[3] // work.groups * work.kernel[0] * work.kernel[1]

        def base(i, y, z, c):  # type: ignore[no-untyped-def]
            return f32(taps)

    def integer(i, y, z, c):  # type: ignore[no-untyped-def]
        counted = acc[i, y, z, c // lanes, c % lanes].astype("int32").astype("float32")
        return fma(f32(-2), counted, base(i, y, z, c))

    return finish(work.shape, integer, epilogue, tensors, inputs, acc)


def _tap_index(work: ConvWorkload):  # type: ignore[no-untyped-def]
    """Physical (row, column) of a tap: padding must lie inside the halo."""
    top, left, _, _ = work.x.halo
    oy, ox = top - work.padding[0], left - work.padding[1]
    assert oy >= 0 and ox >= 0, "the input's halo is smaller than the padding"
    (sh, sw), (dh, dw) = work.strides, work.dilation
    return lambda y, ry, x, rx: (y * sh + ry * dh + oy, x * sw + rx * dw + ox)


def _reduce(kh: int, kw: int, channels: int) -> tuple[tirx.IterVar, ...]:
    return tuple(
        te.reduce_axis((0, e), name) for e, name in ((kh, "ry"), (kw, "rx"), (channels, "rc"))
    )


@dataclass(frozen=True)
class FloatPlan:
    """The choices that fix a float kernel's code and its weights' layout."""

    grouping: Grouping
    tile: schedule.Tile


def plan_float(work: ConvWorkload, hardware: Hardware) -> FloatPlan:
    """Tile and grouping for ``work``."""
    grouping = merge(work.x.shape[3], work.shape[3], work.groups, 1)
    return FloatPlan(
        grouping, schedule.choose_tile(work.shape[2], grouping.outputs // LANES, 32, hardware)
    )


def float_constants(work: ConvWorkload, plan: FloatPlan, weights: np.ndarray) -> list[np.ndarray]:
    """Weights [O,KH,KW,C/groups] in blocks of the tile."""
    wide, _ = expand(weights, work.groups, plan.grouping)
    lanes = plan.tile.vectors * LANES
    blocked = wide.reshape(-1, lanes, *wide.shape[1:]).transpose(0, 2, 3, 4, 1)
    return [np.ascontiguousarray(blocked, np.float32)]


def float32(work: ConvWorkload, plan: FloatPlan, epilogue: Epilogue, tensors: list) -> Stages:
    """Zero-padded convolution summed over (ky, kx, c) in order with fma."""
    g, lanes = plan.grouping, plan.tile.vectors * LANES
    n, oh, ow, _ = work.shape
    blocks_per_group = g.outputs // lanes
    blocks = g.merged * blocks_per_group
    x = placeholder(work.x, "x")
    w = te.placeholder((blocks, *work.kernel, g.inputs, lanes), "float32", name="w")
    at = _tap_index(work)
    ry, rx, rc = _reduce(*work.kernel, g.inputs)

    def dot(i, y, z, b, lane):  # type: ignore[no-untyped-def]
        value = x[i, *at(y, ry, z, rx), b // blocks_per_group * g.inputs + rc]
        # schedule.contract turns each step of this sum into one fma.
        return te.sum(value * w[b, ry, rx, rc, lane], axis=[ry, rx, rc])

    acc = te.compute((n, oh, ow, blocks, lanes), dot, name="acc")

    def total(i, y, z, c):  # type: ignore[no-untyped-def]
        return acc[i, y, z, c // lanes, c % lanes]

    return finish(work.shape, total, epilogue, tensors, [x, w], acc)
