"""The arithmetic of convolutions and pools in numpy: the oracle of every test.

Tensors are NHWC. Binary tensors are int8 arrays of -1 and +1 here (packed bits are a storage
format). A binary convolution is an exact integer. Float arithmetic has one defined order:
reductions run over (ky, kx, channel) one after the other with fused multiply-add.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from bnn_compiler.ops.window import Window

Float = NDArray[np.float32]


def fma(a: Float, b: Float, c: Float) -> Float:
    """float32 a * b + c with one rounding.

    The product is exact in float64; the sum is rounded to odd there (Boldo & Melquiond, 2008), so
    that the rounding to float32 is the only one that counts.
    """
    product = np.asarray(a, np.float64) * np.asarray(b, np.float64)
    addend = np.asarray(c, np.float64)
    total = product + addend
    other = total - product
    error = (product - (total - other)) + (addend - other)
    bits = total.view(np.int64)
    even = (bits & 1) == 0
    inexact = (error != 0) & np.isfinite(total)
    toward = np.where((error > 0) == (total > 0), 1, -1)
    odd = np.where(inexact & even, bits + toward, bits).view(np.float64)
    return odd.astype(np.float32)


def to_bytes(v: Float, factor: Float, zero: Float) -> NDArray[np.uint8]:
    """fma(v, factor, zero), kept in [0, 255], rounded half to even; 0 for NaN."""
    scaled = fma(v, np.broadcast_to(factor, v.shape), np.broadcast_to(zero, v.shape))
    positive = np.where(scaled > 0, scaled, np.float32(0))
    return np.rint(np.where(positive < 255, positive, np.float32(255))).astype(np.uint8)


def windows(x: NDArray[Any], window: Window, fill: float) -> tuple[NDArray[Any], int, int]:
    """``x`` padded with ``fill`` and the output height and width of a window sliding over it."""
    top, left, bottom, right = window.padding
    padded = np.pad(x, ((0, 0), (top, bottom), (left, right), (0, 0)), constant_values=fill)
    return padded, *window.size(x.shape[1], x.shape[2])


def binary_conv2d(
    x: NDArray[np.int8], w: NDArray[np.int8], window: Window, pad_value: int
) -> NDArray[np.int64]:
    """Exact sum over taps of (+1/-1)*(+1/-1); x [N,H,W,C], w [O,KH,KW,C/groups] -> [N,OH,OW,O]."""
    # Integers up to 2**24 are exact in float32, up to 2**53 in float64, and matrix products fast.
    dtype = np.float32 if w[0].size <= 2**24 else np.float64
    return _summed(x.astype(dtype), w, window, pad_value).astype(np.int64)


def _summed(x: NDArray[Any], w: NDArray[Any], window: Window, fill: float) -> NDArray[Any]:
    """The convolution's sums in the dtype of ``x``, float32 or float64, tap by tap."""
    padded, oh, ow = windows(x, window, fill)
    groups = window.groups
    cg, og = w.shape[3], w.shape[0] // groups
    out = np.zeros((x.shape[0], oh, ow, w.shape[0]), x.dtype)
    for ky in range(w.shape[1]):
        for kx in range(w.shape[2]):
            tap = window.tap(padded, ky, kx, oh, ow)
            weights = w[:, ky, kx].astype(x.dtype)
            if cg == 1:
                out += tap[..., np.arange(len(w)) // og] * weights[:, 0]
                continue
            for g in range(groups):
                one = slice(g * og, (g + 1) * og)
                out[..., one] += tap[..., g * cg : (g + 1) * cg] @ weights[one].T
    return out


def float_conv2d(x: Float, w: Float, window: Window) -> Float:
    """float32 convolution, zero padded, summed over (ky, kx, c) in order with fma from 0."""
    padded, oh, ow = windows(x, window, 0.0)
    groups = window.groups
    cg, og = w.shape[3], w.shape[0] // groups
    out = np.zeros((x.shape[0], oh, ow, w.shape[0]), np.float32)
    first = np.arange(w.shape[0]) // og * cg
    for ky in range(w.shape[1]):
        for kx in range(w.shape[2]):
            tap = window.tap(padded, ky, kx, oh, ow)
            for c in range(cg):
                out = fma(tap[..., first + c], w[:, ky, kx, c], out)
    return out


def near_conv2d(x: Float, w: Float, window: Window) -> Float:
    """``float_conv2d`` within rounding, summed in an order that is far faster here."""
    return _summed(x, w, window, 0.0)


def byte_base(
    bias: NDArray[np.float64], rows: NDArray[np.bool_], columns: NDArray[np.bool_]
) -> Float:
    """What the valid taps of ``bias`` [O,KH,KW] add up to, [len(rows), len(columns), O].

    ``rows`` [.., KH] and ``columns`` [.., KW] say which taps lie inside the image.
    """
    total = np.einsum("okl,yk,xl->yxo", bias, rows.astype(float), columns.astype(float))
    base: Float = total.astype(np.float32)
    return base


def byte_conv2d(
    x: NDArray[np.uint8],
    w: NDArray[np.int16] | NDArray[np.int8],
    scale: Float,
    bias: NDArray[np.float64],
    window: Window,
) -> Float:
    """fma(exact integer sum, scale[o], sum of the bias of the taps inside the image).

    x [N,H,W,C] bytes, w [O,KH,KW,C/groups], scale [O], bias [O,KH,KW] -> float32 [N,OH,OW,O].
    """
    total = _summed(x.astype(np.float64), w, window, 0.0)
    oh, ow = total.shape[1:3]
    inside, _, _ = windows(np.ones((1, *x.shape[1:3], 1)), window, 0.0)
    kh, kw = window.kernel
    rows, columns = np.zeros((oh, kh), bool), np.zeros((ow, kw), bool)
    for ky in range(kh):
        for kx in range(kw):
            valid = window.tap(inside, ky, kx, oh, ow)[0, :, :, 0] > 0
            rows[:, ky] |= valid.any(axis=1)
            columns[:, kx] |= valid.any(axis=0)
    base = np.broadcast_to(byte_base(bias, rows, columns), total.shape)
    return fma(total.astype(np.float32), np.broadcast_to(scale, total.shape), base)


def max_pool2d(x: NDArray[Any], window: Window) -> NDArray[Any]:
    """Maximum over the valid taps of each window."""
    low = -128 if x.dtype == np.int8 else -np.inf
    padded, oh, ow = windows(x, window, low)
    taps = [
        window.tap(padded, ky, kx, oh, ow)
        for ky in range(window.kernel[0])
        for kx in range(window.kernel[1])
    ]
    result: NDArray[Any] = np.maximum.reduce(taps)
    return result


def avg_pool2d(x: Float, window: Window, count_include_pad: bool) -> Float:
    """Taps added in (ky, kx) order, then multiplied by the rounded reciprocal of the count."""
    padded, oh, ow = windows(x, window, 0.0)
    ones, _, _ = windows(np.ones_like(x), window, 1.0 if count_include_pad else 0.0)
    total = np.zeros((x.shape[0], oh, ow, x.shape[3]), np.float32)
    count = np.zeros_like(total)
    for ky in range(window.kernel[0]):
        for kx in range(window.kernel[1]):
            total = total + window.tap(padded, ky, kx, oh, ow)
            count = count + window.tap(ones, ky, kx, oh, ow)
    return total * (np.float32(1) / count) + np.float32(0)


def global_mean(x: Float) -> Float:
    """Mean over (h, w), added in that order, as [N, 1, 1, C]."""
    total = np.zeros((x.shape[0], 1, 1, x.shape[3]), np.float32)
    for y in range(x.shape[1]):
        for z in range(x.shape[2]):
            total = total + x[:, y : y + 1, z : z + 1]
    return total * np.float32(1.0 / (x.shape[1] * x.shape[2])) + np.float32(0)
