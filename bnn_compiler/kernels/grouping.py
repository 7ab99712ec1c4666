"""How grouped convolutions map onto words and vectors.

Groups are merged until a merged group starts at a word of input bits and fills whole vectors of
outputs. Inside it every output reads all words; a mask (or zero float weights) hides the
channels of the other groups, so the integer stays exact for any group size down to depthwise.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from bnn_compiler.kernels.layout import LANES
from bnn_compiler.ops.rounding import round_up


@dataclass(frozen=True)
class Grouping:
    """``merged`` groups of ``inputs`` input and ``outputs`` output channels each."""

    merged: int
    inputs: int
    outputs: int
    masked: bool


@lru_cache(maxsize=4096)
def merge(channels: int, outputs: int, groups: int, unit: int) -> Grouping:
    """Merge ``groups``; ``unit`` is the alignment of a group's input channels (32 for bits)."""
    if groups == 1:
        return Grouping(1, channels, round_up(outputs, LANES), False)
    per_in, per_out = channels // groups, outputs // groups
    for k in range(1, groups + 1):
        if groups % k == 0 and (per_in * k) % unit == 0 and (per_out * k) % LANES == 0:
            return Grouping(groups // k, per_in * k, per_out * k, k > 1)
    return Grouping(1, channels, round_up(outputs, LANES), True)


def expand(w: np.ndarray, groups: int, grouping: Grouping) -> tuple[np.ndarray, np.ndarray]:
    """Weights [O,KH,KW,C/groups] as [O', KH, KW, inputs] of merged groups, and where they are real.

    O' = merged * outputs; missing channels and outputs are 0.
    """
    o, kh, kw, per_in = w.shape
    per_out = o // groups
    wide = np.zeros((grouping.merged * grouping.outputs, kh, kw, grouping.inputs), w.dtype)
    real = np.zeros(wide.shape, bool)
    together = groups // grouping.merged
    for i in range(o):
        first = (i // per_out) % together * per_in
        wide[i, :, :, first : first + per_in] = w[i]
        real[i, :, :, first : first + per_in] = True
    return wide, real
