"""Processes that build candidates: one that crashes or hangs costs one trial."""

import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tvm.support.popen_pool import PopenPoolExecutor

from bnn_compiler import families
from bnn_compiler.deploy.cpu.trial import TrialProgram
from bnn_compiler.errors import BuildError
from bnn_compiler.kernels.point import Point
from bnn_compiler.kernels.task import Task
from bnn_compiler.target import Target
from bnn_compiler.tune import harness

#: Seconds a candidate may take to be built.
BUILD_SECONDS = 30.0


class _Pool(PopenPoolExecutor):
    """Its processes never see Ctrl-C, not even while they start."""

    def submit(self, fn: Any, *args: Any, **kwargs: Any) -> Any:
        """As of any executor."""
        # The thread that this starts, and the process that the thread starts, inherit the mask.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            return super().submit(fn, *args, **kwargs)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def pool(workers: int, seconds: float) -> Iterator[PopenPoolExecutor]:
    """Processes that are gone when this ends; Ctrl-C is left to the process that owns them."""
    executor = _Pool(max_workers=workers, timeout=seconds, maximum_process_uses=200)
    try:
        yield executor
    finally:
        executor.shutdown()


def cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0))


def build(
    candidates: Sequence[tuple[Task, Point]],
    target: Target,
    stems: Sequence[Path],
    pool: PopenPoolExecutor,
    *,
    static: bool,
) -> list[tuple[TrialProgram | None, str]]:
    """A program for each candidate at its stem, or None and one line of what went wrong.

    Raises BuildError or OSError for what any candidate would have met: no linker, a full disk.
    """
    futures = [
        pool.submit(_build_one, task, point, target, stem, static)
        for (task, point), stem in zip(candidates, stems, strict=True)
    ]
    return [outcome(future) for future in futures]


def _build_one(task: Task, point: Point, target: Target, stem: Path, static: bool) -> TrialProgram:
    """Runs in a worker process."""
    return harness.build(families.function(task, point), task, point, target, stem, static=static)


def outcome(future: Any) -> tuple[Any, str]:
    """What a worker returned, or None and what went wrong. Raises as ``build`` does."""
    try:
        return future.result(), ""
    except TimeoutError:
        return None, "took too long and was stopped"
    except ChildProcessError as e:
        return None, str(e)
    except (BuildError, OSError):
        raise
    except Exception as e:
        # Whatever a candidate does to its process, it has cost one trial and no more.
        return None, " ".join(f"{type(e).__name__}: {e}".split())[:300]
