"""The schedules of families on CUDA cores."""

from collections.abc import Iterator
from dataclasses import dataclass

from bnn_compiler.kernels.cuda.schedule import THREADS
from bnn_compiler.kernels.family import Counts, Mix
from bnn_compiler.kernels.grouping import Grouping, merge
from bnn_compiler.kernels.point import Point
from bnn_compiler.kernels.task import Task
from bnn_compiler.target import Gpu

#: Pixels of a row that share what a thread reads of the weights.
_PIXELS = (1, 2, 4, 8)


@dataclass(frozen=True)
class ThreadPoint(Point):
    """A thread computes one output channel of ``pixels`` of a row; blocks have ``threads``."""

    pixels: int
    threads: int = THREADS

    @property
    def tile(self) -> str:
        """Pixels x channels."""
        return f"{self.pixels}x1"


def candidates(task: Task) -> Iterator[tuple[int, int]]:
    """(pixels, threads) of every schedule."""
    for pixels in _PIXELS:
        if task.work.shape[2] % pixels == 0:
            for threads in (64, 128, THREADS):
                yield pixels, threads


def best(task: Task, gpu: Gpu) -> tuple[int, int]:
    """As many pixels as leave each multiprocessor the threads to hide latencies with."""
    n, h, w, c = task.work.shape
    wanted = gpu.sms * min(512, gpu.threads_per_sm)

    def enough(pixels: int) -> bool:
        return n * h * w * c // pixels >= wanted

    fitting = [p for p in _PIXELS if w % p == 0 and (p == 1 or enough(p))]
    return max(fitting), 128


def counts(task: Task, point: ThreadPoint, steps: int, word: int, mix: Mix) -> Counts:
    """Of a thread's tile, as if a warp's half were a vector of 16 outputs."""
    return Counts(
        grouping=_one(task),
        pixels=point.pixels,
        vectors=1,
        accumulators=point.pixels,
        weights=1,
        mix=mix,
        steps=steps,
        inner=1,
        body=point.pixels,
        word=word,
        word_bytes=word / 8,
    )


def _one(task: Task) -> Grouping:
    return merge(task.work.x.shape[3] // task.work.groups, task.work.shape[3], 1, 1)
