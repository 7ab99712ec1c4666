"""What others use to guess a network's time, to be compared with: fitted on measured networks."""

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from bnn_compiler.kernels.layout import LANES
from bnn_compiler.kernels.task import Task
from bnn_compiler.latency.kernel import Kernel
from bnn_compiler.ops.rounding import round_up

Floats = NDArray[np.float64]
Network = Sequence[Kernel]
#: Seconds of networks.
Predictor = Callable[[Sequence[Network]], Floats]


def macs(kernels: Network) -> list[float]:
    """Binary and other multiply-accumulates."""
    found = [0.0, 0.0]
    for kernel in kernels:
        if isinstance(kernel.task, Task):
            found[not kernel.task.work.is_binary] += kernel.task.work.macs
    return [*found, 1.0]


def bops(kernels: Network) -> list[float]:
    """Operations as the papers count them: 64 binary ones are one."""
    binary, other, _ = macs(kernels)
    return [binary / 64 + other, 1.0]


def staircase(kernels: Network) -> list[float]:
    """Multiply-accumulates with channels rounded up to words of 32 and vectors of 16, bytes, calls:
    four numbers.
    """
    binary = other = traffic = 0.0
    for kernel in kernels:
        traffic += sum(t.bytes for t in (*kernel.reads, *kernel.writes))
        if not isinstance(kernel.task, Task):
            continue
        work = kernel.task.work
        n, h, w, outputs = work.shape
        taps = work.kernel[0] * work.kernel[1]
        inputs = work.x.shape[3] // work.groups
        if work.is_binary:
            inputs = round_up(inputs, 32)
        rounded = float(n * h * w * round_up(outputs, LANES) * taps * inputs)
        traffic += outputs * taps * inputs * work.x.storage.channel_bytes
        if work.is_binary:
            binary += rounded
        else:
            other += rounded
    return [binary, other, traffic, float(len(kernels))]


def linear(
    counts: Callable[[Network], list[float]], networks: Sequence[Network], seconds: Floats
) -> Predictor:
    """The least squared relative error by a sum of ``counts``."""
    x = np.array([counts(k) for k in networks])
    size = np.maximum(np.abs(x).max(axis=0), 1e-30)
    a = x / size / seconds[:, None]
    weights = np.linalg.lstsq(a, np.ones(len(seconds)), rcond=None)[0] / size
    return lambda others: np.array([counts(k) for k in others]) @ weights


def table(networks: Sequence[Network], steps: Sequence[Sequence[float]]) -> Predictor:
    """A layer is as slow as the measured layer of its kind that is nearest in channels; a network
    is their sum.
    """
    known: dict[tuple[object, ...], list[tuple[float, float, float]]] = {}
    for kernels, times in zip(networks, steps, strict=True):
        for kernel, time in zip(kernels, times, strict=True):
            known.setdefault(_kind(kernel), []).append((*_channels(kernel), time))
    entries = {kind: np.array(rows) for kind, rows in known.items()}
    mean = float(np.mean([t for times in steps for t in times]))

    def layer(kernel: Kernel) -> float:
        rows = entries.get(_kind(kernel))
        if rows is None:
            return mean
        far = np.abs(rows[:, :2] - _channels(kernel)).sum(axis=1)
        return float(rows[int(far.argmin()), 2])

    return lambda others: np.array([sum(layer(k) for k in kernels) for kernels in others])


def _kind(kernel: Kernel) -> tuple[object, ...]:
    work = kernel.task.work
    window = (work.kernel, work.strides, work.groups > 1) if work else ()
    return kernel.op, kernel.writes[0].shape[:3], window


def _channels(kernel: Kernel) -> tuple[float, float]:
    return math.log2(kernel.reads[0].shape[3]), math.log2(kernel.writes[0].shape[3])


#: Those that need whole networks' times only.
LINEAR: dict[str, Callable[[Network], list[float]]] = {
    "MACs": macs,
    "BOPs": bops,
    "staircase, 4 numbers": staircase,
}
