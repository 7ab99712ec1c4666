"""What a latency model calls the things it knows of kernels, and how it counts them, by machine."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bnn_compiler.cost.pick import Choice
from bnn_compiler.latency import features, gpu_features
from bnn_compiler.latency.kernel import Kernel
from bnn_compiler.target import Gpu, Target


@dataclass(frozen=True)
class Vocabulary:
    """``terms`` are in proportion to time where nothing else counts, ``names`` is all else.

    ``kinds`` of kernels have coefficients of their own. The term "weights" is the bytes of a
    kernel's constants.
    """

    names: tuple[str, ...]
    terms: tuple[str, ...]
    kinds: tuple[str, ...]


CPU = Vocabulary(features.NAMES, features.TERMS, features.KINDS)
GPU = Vocabulary(gpu_features.NAMES, gpu_features.TERMS, gpu_features.KINDS)


def of(target: Target) -> Vocabulary:
    """That of models of ``target``."""
    return GPU if isinstance(target.hardware, Gpu) else CPU


def matrix(
    kernels: Sequence[Kernel], choices: Sequence[Choice | None], target: Target
) -> tuple[NDArray[np.float32], NDArray[np.float64], NDArray[np.int64]]:
    """Features [n, names], terms [n, terms] and indices of kinds [n] of kernels with schedules.

    Raises ScheduleError for a kernel of a kind that is not known.
    """
    if isinstance(target.hardware, Gpu):
        return gpu_features.matrix(kernels, choices, target.hardware)
    return features.matrix(kernels, choices, target.hardware)
