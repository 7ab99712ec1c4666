"""What is known of whole networks, a row each, from what is known of their kernels."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bnn_compiler.latency.kernel import Kernel
from bnn_compiler.latency.spread import FACTS, disagreement
from bnn_compiler.target import Target

Floats = NDArray[np.float64]


def starts(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Where networks of ``counts`` kernels begin in a list of all."""
    return np.concatenate([[0], np.cumsum(counts)[:-1]])


def facts(sums: Floats, calls: Floats, inputs: Floats, cold: Floats) -> tuple[Floats, Floats]:
    """Facts [n, FACTS] and disagreement [n] from the sums of each member [n, members]."""
    logs = np.log(sums)
    found = np.stack([np.exp(logs.mean(axis=1)), calls, inputs, cold], axis=1)
    assert found.shape[1] == len(FACTS)
    return found, disagreement(sums)


def shares(
    networks: NDArray[np.int64], seconds: Floats, kinds: NDArray[np.int64], size: int
) -> Floats:
    """Of each network's time, what is spent in each of ``size`` kinds of kernel [n, size]: from the
    numbers of the kernels' networks, which count up, their seconds [kernels, members], and kinds.
    """
    cells = networks * size + kinds
    found = np.bincount(cells, seconds[:, 0], (int(networks[-1]) + 1) * size).reshape(-1, size)
    return np.asarray(found / found.sum(axis=1, keepdims=True))


def cold(weights: Floats, target: Target) -> Floats:
    """Bytes of weights that L2 does not hold from one image to the next."""
    return np.asarray(np.maximum(weights - 1024 * target.hardware.l2_kib, 0.0))


def input_bytes(kernels: Sequence[Kernel]) -> float:
    """Of the network's first input."""
    return float(kernels[0].reads[0].bytes)
