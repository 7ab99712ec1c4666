"""Candidates are judged by local processes, so that one that dies costs one candidate.

Each process is started afresh (spawn), has one torch thread, and makes its own judge once. Which
process gets which candidate does not matter: a result depends on the plan and its seed alone.
"""

import contextlib
import multiprocessing
import os
import signal
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

from bnn_compiler.closing import Closing
from bnn_compiler.errors import SearchError
from bnn_compiler.search.accuracy import Evaluate, Lost, judge
from bnn_compiler.search.plans import Plan

#: Makes a worker's judge of a stage, once; pickled, so a function of a module or a dataclass.
Make = Callable[[str], Evaluate]
#: Candidates judged so far, of how many.
Tell = Callable[[int, int], None]
#: Seconds that a worker which was told to end may take.
_GRACE = 2.0


@dataclass
class _Worker:
    process: BaseProcess
    pipe: Connection
    #: The index of the candidate it has, if it has one.
    busy: int | None = None


@dataclass
class Workers(Closing):
    """``count`` processes that judge candidates; use it in a ``with``.

    They stay from one stage of a search to the next. Raises SearchError for none.
    """

    make: Make
    count: int = 1
    tell: Tell = lambda done, total: None
    _workers: list[_Worker] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.count < 1:
            raise SearchError(f"{self.count} workers: give at least 1")

    def at(self, stage: str) -> "Stage":
        """The judge of a stage, as ``make`` makes it."""
        return Stage(self, stage)

    def of(self, stage: str, plans: Sequence[Plan], seeds: Sequence[int]) -> list[float | Lost]:
        """The accuracy of each plan, in order."""
        results: list[float | Lost] = [Lost("not judged")] * len(plans)
        waiting = deque(enumerate(zip(plans, seeds, strict=True)))
        done = 0
        try:
            while done < len(plans):
                self._hand_out(stage, waiting)
                for worker in self._ready():
                    index, results[index] = self._answer(worker)
                    done += 1
                    self.tell(done, len(plans))
        except BaseException:
            # Its workers have candidates that nobody waits for any more.
            self.close()
            raise
        return results

    def close(self) -> None:
        """End the processes."""
        for worker in self._workers:
            worker.pipe.close()
            worker.process.terminate()
        for worker in self._workers:
            worker.process.join(_GRACE)
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()
        self._workers.clear()

    def _hand_out(self, stage: str, waiting: deque[tuple[int, tuple[Plan, int]]]) -> None:
        while waiting:
            worker = next((w for w in self._workers if w.busy is None), None)
            if worker is None and len(self._workers) < self.count:
                worker = self._start()
            if worker is None:
                return
            index, (plan, seed) = waiting.popleft()
            worker.busy = index
            # One that is dead already is found so when its answer is waited for.
            with contextlib.suppress(OSError):
                worker.pipe.send((stage, dict(plan), seed))

    def _ready(self) -> list[_Worker]:
        """The workers that have answered, or died, on a candidate."""
        pipes = {w.pipe: w for w in self._workers if w.busy is not None}
        return [pipes[p] for p in wait(list(pipes)) if isinstance(p, Connection)]

    def _answer(self, worker: _Worker) -> tuple[int, float | Lost]:
        index, worker.busy = worker.busy, None
        assert index is not None
        try:
            return index, worker.pipe.recv()
        except (EOFError, OSError):
            worker.process.join(_GRACE)
            code = worker.process.exitcode
            worker.pipe.close()
            self._workers.remove(worker)
            return index, Lost(f"its worker {_death(code)}")

    def _start(self) -> _Worker:
        context = multiprocessing.get_context("spawn")
        here, there = context.Pipe()
        process = context.Process(target=_serve, args=(self.make, there), daemon=True)
        with _inherited():
            process.start()
        there.close()
        worker = _Worker(process, here)
        self._workers.append(worker)
        return worker


@dataclass(frozen=True)
class Stage:
    """An Accuracy: the workers at one stage."""

    workers: Workers
    name: str

    def of(self, plans: Sequence[Plan], seeds: Sequence[int]) -> list[float | Lost]:
        """As of any Accuracy."""
        return self.workers.of(self.name, plans, seeds)


def _death(code: int | None) -> str:
    """An exit code in words."""
    if code is None:
        return "broke off"
    if code < 0:
        why = " (out of memory?)" if -code == signal.SIGKILL else ""
        return f"was killed by {signal.Signals(-code).name}{why}"
    return f"ended with exit code {code}"


def _serve(make: Make, pipe: Connection) -> None:
    """A worker's life."""
    judges: dict[str, Evaluate] = {}
    while True:
        try:
            stage, plan, seed = pipe.recv()
        except EOFError:
            return
        if stage not in judges:
            judges = {stage: _made(make, stage)}
        pipe.send(judge(judges[stage], plan, seed))


def _made(make: Make, stage: str) -> Evaluate:
    """The judge, or one that says why there is none."""
    try:
        found = make(stage)
    except Exception as e:
        reason = " ".join(f"{type(e).__name__}: {e}".split())[:300]

        def found(plan: Plan, seed: int) -> float:
            raise SearchError(f"the worker could not make its judge: {reason}")

    if "torch" in sys.modules:
        # Of a torch that does not heed the environment.
        sys.modules["torch"].set_num_threads(1)
    return found


@contextlib.contextmanager
def _inherited() -> Iterator[None]:
    """What a process that starts meanwhile is given: no Ctrl-C, which is left to this one, and one
    thread for everything, because sums of several may differ with their number.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    values = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, "1"))
    try:
        yield
    finally:
        for name, value in values.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
