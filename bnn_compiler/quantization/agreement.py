"""How often two networks say the same."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def top1(a: NDArray[Any], b: NDArray[Any]) -> float:
    """Share of samples (of pixels, for a dense output) whose largest class agrees.

    Of integers, the share that is equal.
    """
    if b.dtype.kind in "biu":
        return float((a == b).mean()) if a.size else 1.0
    if a.ndim < 2 or not a.size:
        return 1.0
    return float((np.argmax(a, axis=1) == np.argmax(b, axis=1)).mean())
