"""Workers that are processes of this machine, so that one that dies costs one candidate.

Each is started afresh (spawn) and has one torch thread.
"""

import contextlib
import multiprocessing
import os
import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

from bnn_compiler.search.accuracy import Lost
from bnn_compiler.search.plans import Plan
from bnn_compiler.search.pool import Desk, Gone, Make, Worker

#: Seconds that a worker which was told to end may take.
_GRACE = 2.0


@dataclass
class _Process:
    """See Worker."""

    process: BaseProcess
    pipe: Connection
    there: bool = True

    def ask(self, stage: str, plan: Plan, seed: int) -> None:
        # One that is dead already is found so when its answer is waited for.
        with contextlib.suppress(OSError):
            self.pipe.send((stage, dict(plan), seed))

    def answer(self) -> float | Lost:
        try:
            found: float | Lost = self.pipe.recv()
        except (EOFError, OSError) as e:
            self.process.join(_GRACE)
            self.pipe.close()
            raise Gone(_death(self.process.exitcode)) from e
        return found

    def end(self) -> None:
        self.pipe.close()
        self.process.terminate()
        self.process.join(_GRACE)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()


class Processes:
    """The pool of this machine.

    A candidate has one chance: what kills its process here, out of memory above all, would again.
    """

    chances = 1

    def start(self, make: Make) -> _Process:
        """See Pool."""
        context = multiprocessing.get_context("spawn")
        here, there = context.Pipe()
        process = context.Process(target=_serve, args=(make, there), daemon=True)
        with _inherited():
            process.start()
        there.close()
        return _Process(process, here)

    def ready(self, workers: Sequence[Worker]) -> list[Worker]:
        """See Pool."""
        mine = [w for w in workers if isinstance(w, _Process)]
        pipes = wait([w.pipe for w in mine])
        return [w for w in mine if w.pipe in pipes]


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
    desk = Desk(make)
    while True:
        try:
            stage, plan, seed = pipe.recv()
        except EOFError:
            return
        pipe.send(desk.judge(stage, plan, seed))


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
