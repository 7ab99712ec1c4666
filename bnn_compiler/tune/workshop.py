"""Candidates become trials: built in worker processes, measured on a machine, compared."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from tvm.support.popen_pool import PopenPoolExecutor

from bnn_compiler.device.measure import DEFAULT, Machine, Outcome
from bnn_compiler.kernels.point import Point
from bnn_compiler.kernels.task import Task
from bnn_compiler.target import Target
from bnn_compiler.tune import workers
from bnn_compiler.tune.journal import Trial


@dataclass
class Judge:
    """What each task computes, as its first schedule measured says."""

    _digests: dict[Task, str] = field(default_factory=dict)

    def trial(self, task: Task, point: Point, outcome: Outcome) -> Trial:
        """The outcome as a trial; one that computes other values has failed."""
        found = outcome.found
        if found is None:
            return Trial(task, point, None, outcome.error)
        if found.digest != self._digests.setdefault(task, found.digest):
            error = "computes other values than the first schedule measured"
            return Trial(task, point, None, error)
        return Trial(task, point, min(found.seconds))


@dataclass
class Workshop:
    """Builds for ``target`` in the processes of ``pool``, files in ``folder``."""

    target: Target
    machine: Machine
    folder: Path
    pool: PopenPoolExecutor
    judge: Judge = field(default_factory=Judge)
    _count: Iterator[int] = field(default_factory=itertools.count)

    def measure(
        self, candidates: Sequence[tuple[Task, Point]], ended: Callable[[Trial], None]
    ) -> None:
        """Build and measure each; ``ended`` hears of each trial at once.

        Raises BuildError, OSError or DeviceError for what is no candidate's fault.
        """
        stems = [self.folder / f"candidate{next(self._count)}" for _ in candidates]
        static = not self.machine.here
        built = workers.build(candidates, self.target, stems, self.pool, static=static)
        programs, made = [], []
        for (task, point), (program, error) in zip(candidates, built, strict=True):
            if program is None:
                ended(Trial(task, point, None, error))
            else:
                programs.append(program)
                made.append((task, point))
        try:
            self.machine.measure(
                programs, DEFAULT, lambda i, outcome: ended(self.judge.trial(*made[i], outcome))
            )
        finally:
            for stem in stems:
                for file in self.folder.glob(f"{stem.name}.*"):
                    file.unlink(missing_ok=True)


@contextmanager
def workshop(target: Target, machine: Machine) -> Iterator[Workshop]:
    """One whose processes and files are gone when this ends."""
    with (
        TemporaryDirectory(prefix="bnnc-tune-") as folder,
        workers.pool(workers.cores(), workers.BUILD_SECONDS) as pool,
    ):
        yield Workshop(target, machine, Path(folder), pool)
