"""Where weights lie when their turn comes again: that depends on what passes in between.

A kernel reads its weights once an image. In a network that L2 holds they are still there; behind
some megabytes of others they come from L3 or from memory. Trees (regress.py) know the kernel, not
its network, so this is learnt beside them: the logarithm of how much longer a kernel of nothing but
weights takes in networks of a size.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bnn_compiler.target import Target

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]

#: Sizes of networks, in those of L2, between which weights are learnt to take as long.
EDGES = (0.5, 1, 2, 4, 8, 16, 32, 64)
LEVELS = len(EDGES) + 1
#: What no difference weighs, in programs whose time is all weights.
_PULL = 0.5


@dataclass(frozen=True)
class Caches:
    """``longer`` [LEVELS] is the logarithm for each size."""

    longer: tuple[float, ...] = (0.0,) * LEVELS

    def logs(self, share: Floats, level: Indices) -> Floats:
        """Of kernels' seconds [n]; ``share`` of their bytes [n] are weights."""
        return np.asarray(share * np.array(self.longer)[level])

    def improved(self, missed: Floats, weights: Floats, share: Floats, level: Indices) -> "Caches":
        """With what explains ``missed`` [n], the logarithms of measured over predicted seconds of
        kernels that weigh ``weights`` [n]. A size of which there are none moves with the
        nearest of which there are some, the larger of two.
        """
        fits = np.bincount(level, weights * share * missed, LEVELS)
        size = np.bincount(level, weights * share**2, LEVELS)
        seen = np.unique(level)[::-1]
        nearest = seen[np.abs(np.arange(LEVELS)[:, None] - seen).argmin(axis=1)]
        moved = fits / (size + _PULL)
        return Caches(tuple(map(float, np.array(self.longer) + moved[nearest])))


def levels(passing: Floats, target: Target) -> Indices:
    """Of networks whose kernels' weights and results have ``passing`` bytes [n]."""
    return np.asarray(np.digitize(passing / (1024 * target.hardware.l2_kib), EDGES))
