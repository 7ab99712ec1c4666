"""Resizing: source rows and their weights, in PyTorch's coordinates and its float32 arithmetic."""

from collections.abc import Sequence

import numpy as np

from bnn_compiler.ops.reference import Float, fma


def resize_tables(
    size: int, new: int, method: str, transform: str, factor: float = 0.0
) -> list[np.ndarray]:
    """[first source index int32, second int32, weight of the second float32], each [new].

    ``method`` is "nearest_neighbor" or "linear"; ``transform`` is "asymmetric", "half_pixel" or
    "align_corners". Samples lie 1 / ``factor`` apart, or size / new if it is 0.
    """
    source = _positions(size, new, method, transform, factor)
    first = np.minimum(np.floor(source), size - 1).astype(np.int32)
    if method == "nearest_neighbor":
        return [first, first, np.zeros(new, np.float32)]
    second = np.minimum(first + 1, size - 1).astype(np.int32)
    weight = np.clip(source - first.astype(np.float32), 0, 1)
    return [first, second, weight.astype(np.float32)]


def _positions(size: int, new: int, method: str, transform: str, factor: float) -> np.ndarray:
    """Where each output lies in the source, float32 [new]."""
    at = np.arange(new, dtype=np.float32)
    half = np.float32(0.5)
    step = np.float32(1 / factor) if factor > 0 else np.float32(size) / np.float32(new)
    if method == "nearest_neighbor" and transform == "half_pixel":
        return (at + half) * step
    if transform == "asymmetric":
        return at * step
    # PyTorch copies an axis that keeps its size, whatever the factor.
    if size == new:
        return at
    if transform == "align_corners":
        return at * (np.float32(size - 1) / np.float32(max(new - 1, 1)))
    # One rounding: PyTorch's kernels are built with fused multiply-add.
    fused = (at + half).astype(np.float64) * step - half
    return np.maximum(fused.astype(np.float32), np.float32(0))


def resize2d(
    x: Float, size: Sequence[int], method: str, transform: str, factors: Sequence[float]
) -> Float:
    """``x`` [N, H, W, C] at ``size`` (h, w): columns are blended first, then rows."""
    y0, y1, wy = resize_tables(x.shape[1], size[0], method, transform, factors[0])
    x0, x1, wx = resize_tables(x.shape[2], size[1], method, transform, factors[1])
    if method == "nearest_neighbor":
        return x[:, y0][:, :, x0]

    def blend(a: Float, b: Float, t: Float) -> Float:
        return fma(b - a, np.broadcast_to(t, a.shape), a)

    above = blend(x[:, y0][:, :, x0], x[:, y0][:, :, x1], wx[:, None])
    below = blend(x[:, y1][:, :, x0], x[:, y1][:, :, x1], wx[:, None])
    return blend(above, below, wy[:, None, None])
