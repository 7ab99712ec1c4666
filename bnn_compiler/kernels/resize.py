"""Source rows and weights of a resize, in PyTorch's coordinates."""

import numpy as np


def resize_tables(size: int, new: int, method: str, transform: str) -> list[np.ndarray]:
    """[first source index int32, second int32, weight of the second float32], each [new]."""
    at = np.arange(new, dtype=np.float64)
    if method == "nearest_neighbor":
        first = np.minimum(np.floor(at * size / new), size - 1).astype(np.int32)
        return [first, first, np.zeros(new, np.float32)]
    if transform == "align_corners":
        source = at * ((size - 1) / (new - 1)) if new > 1 else np.zeros(1)
    else:
        source = np.maximum((at + 0.5) * size / new - 0.5, 0)
    first = np.minimum(np.floor(source), size - 1).astype(np.int32)
    second = np.minimum(first + 1, size - 1).astype(np.int32)
    return [first, second, (source - first).astype(np.float32)]
