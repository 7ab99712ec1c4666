"""MetaSchedule's builder and runner, with processes of our own behind them.

Ours build the plain C function that ships into a program that times it. A candidate that crashes
or hangs costs one trial.
"""

import itertools
import json
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tvm.ir.utils import derived_object
from tvm.s_tir import meta_schedule as ms
from tvm.support.popen_pool import PopenPoolExecutor

from bnn_compiler import families
from bnn_compiler.deploy.cpu.trial import Program
from bnn_compiler.device.measure import DEFAULT, Machine, Outcome
from bnn_compiler.errors import BnnCompilerError, BuildError
from bnn_compiler.kernels.point import Point
from bnn_compiler.kernels.task import Task
from bnn_compiler.target import Target
from bnn_compiler.tune import harness

#: Seconds a candidate may take to be built.
BUILD_SECONDS = 30.0


def build_one(
    text: str, task: str, point: dict[str, Any], device: Target, stem: str, static: bool
) -> str:
    """Runs in a worker process: the path of the program."""
    from bnn_compiler.tune import harness

    function = harness.from_text(text)
    found, chosen = Task.from_dict(json.loads(task)), families.point_of(point)
    return str(harness.build(function, found, chosen, device, Path(stem), static=static).path)


def attributes(candidate: ms.MeasureCandidate) -> tuple[Task, Point]:
    """Which task and point a candidate is (strategy.candidate wrote it)."""
    attrs = candidate.sch.mod["main"].attrs
    task, point = (json.loads(str(attrs[f"bnn.{name}"])) for name in ("task", "point"))
    return Task.from_dict(task), families.point_of(point)


class _Pool(PopenPoolExecutor):
    """Its processes never see Ctrl-C, not even while they start."""

    def submit(self, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
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


@derived_object
class Builder(ms.builder.PyBuilder):
    """Builds a batch in the processes of ``pool``; ``fault`` hears of what is no candidate's."""

    def __init__(
        self,
        device: Target,
        folder: Path,
        pool: PopenPoolExecutor,
        fault: Callable[[BaseException], None],
        *,
        static: bool,
    ) -> None:
        super().__init__()
        self.device = device
        self.static = static
        #: The task and point of each program that was built.
        self.made: dict[str, tuple[Task, Point]] = {}
        self.folder = folder
        self.count = itertools.count()
        self.pool = pool
        self.fault = fault

    def build(self, build_inputs: list[ms.builder.BuilderInput]) -> list[ms.builder.BuilderResult]:
        """One result for each input: a path, or what went wrong."""
        futures = []
        candidates = []
        for each in build_inputs:
            function = each.mod["main"]
            stem = str(self.folder / f"candidate{next(self.count)}")
            task, point = (json.loads(str(function.attrs[f"bnn.{k}"])) for k in ("task", "point"))
            candidates.append((Task.from_dict(task), families.point_of(point)))
            futures.append(
                self.pool.submit(
                    build_one,
                    harness.as_text(function),
                    json.dumps(task),
                    point,
                    self.device,
                    stem,
                    self.static,
                )
            )
        results = [outcome(f, self.fault) for f in futures]
        self.made.update(
            (path, made) for (path, _), made in zip(results, candidates, strict=True) if path
        )
        return [ms.builder.BuilderResult(*result) for result in results]


def outcome(
    future: Any, fault: Callable[[BaseException], None] = lambda error: None
) -> tuple[Any, str | None]:
    """(value, None) or (None, one line of what went wrong).

    ``fault`` is told of errors that any candidate would have met: no linker, a full disk.
    """
    try:
        return future.result(), None
    except TimeoutError:
        return None, "took too long and was stopped"
    except (BuildError, OSError) as e:
        if not isinstance(e, ChildProcessError):
            fault(e)
        return None, str(e)
    except Exception as e:
        # Whatever a candidate does to its process, it has cost one trial and no more.
        return None, " ".join(f"{type(e).__name__}: {e}".split())[:300]


@derived_object
class Done(ms.runner.PyRunnerFuture):
    """A result that is there already."""

    def __init__(self, seconds: Sequence[float] | None, error: str | None) -> None:
        super().__init__()
        self.found = ms.runner.RunnerResult(seconds, error)

    def done(self) -> bool:
        """Always."""
        return True

    def result(self) -> ms.runner.RunnerResult:
        """The result."""
        return self.found


@derived_object
class Runner(ms.runner.PyRunner):
    """Measures a batch on ``machine``; ``fault`` hears of what is no candidate's.

    ``ended`` hears of each program's result at once.
    """

    def __init__(
        self,
        machine: Machine,
        fault: Callable[[BaseException], None],
        ended: Callable[[str, ms.runner.RunnerResult], None] = lambda path, result: None,
    ) -> None:
        super().__init__()
        self.machine = machine
        self.fault = fault
        self.ended = ended
        self.digests: dict[str, str] = {}

    def run(self, runner_inputs: list[ms.runner.RunnerInput]) -> list[ms.runner.RunnerFuture]:
        """Seconds of each candidate, or what went wrong."""
        programs = [Program(Path(each.artifact_path)) for each in runner_inputs]
        futures = [Done(None, "not measured") for _ in programs]

        def done(index: int, outcome: Outcome) -> None:
            futures[index] = self._checked(outcome)
            self.ended(str(runner_inputs[index].artifact_path), futures[index].found)

        try:
            self.machine.measure(programs, DEFAULT, done)
        except BnnCompilerError as e:
            self.fault(e)
        for path in (p.path for p in programs):
            for file in path.parent.glob(f"{path.stem}.*"):
                file.unlink(missing_ok=True)
        return futures

    def _checked(self, outcome: Outcome) -> "Done":
        found = outcome.found
        if found is None:
            return Done(None, outcome.error)
        if found.digest != self.digests.setdefault(found.name, found.digest):
            return Done(None, "computes other values than the first schedule measured")
        return Done(found.seconds, None)
