"""The schedules of families on CUDA cores."""

from collections.abc import Iterator
from dataclasses import dataclass

from bnn_compiler.kernels.cuda.schedule import THREADS
from bnn_compiler.kernels.cuda.words import WORD
from bnn_compiler.kernels.gpu_counts import GpuCounts
from bnn_compiler.kernels.layout import LANES
from bnn_compiler.kernels.point import Point
from bnn_compiler.kernels.task import Task
from bnn_compiler.ops.rounding import ceil_div, round_up
from bnn_compiler.ops.storage import Storage
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


def counts(
    task: Task, point: ThreadPoint, steps: int, multiply: int, weight_bytes: int
) -> GpuCounts:
    """A step has ``multiply`` instructions for each pixel, and a weight of ``weight_bytes``."""
    n, h, w, c = task.work.shape
    unit = WORD if any(o.is_bits for o in task.epilogue.outputs) else LANES
    computed = n * h * w * round_up(c, unit)
    threads = min(point.threads, computed // point.pixels)
    pixel_bytes = {Storage.INT16: 2}.get(task.work.x.storage, 4)
    return GpuCounts(
        blocks=ceil_div(computed // point.pixels, threads),
        threads=threads,
        is_mma=False,
        is_popc=task.work.is_binary,
        multiply=multiply * point.pixels,
        load=1 + point.pixels,
        load_bytes=weight_bytes + pixel_bytes * point.pixels,
        steps=steps,
        outputs=point.pixels,
        computed=computed,
        registers=24 + 3 * point.pixels,
        own_pixels=point.pixels,
        pixels=point.pixels,
        channels=1,
    )
