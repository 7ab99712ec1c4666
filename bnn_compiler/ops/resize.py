"""Source rows and weights of a resize, in PyTorch's coordinates and its float32 arithmetic."""

import numpy as np


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
