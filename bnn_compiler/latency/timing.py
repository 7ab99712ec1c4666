"""Programs timed in turns with a reference program, so that a slow minute hits all of them.

Seconds are those of ``Artifact.run`` called again and again, one thread: a network's weights are
then as far away as its own run leaves them, neither hot nor cold.
"""

import math
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bnn_compiler.deploy.cpu.turns import Runs
from bnn_compiler.runtime import Artifact, Session

#: In a round.
RUNS = Runs(reference=2, whole=3, steps=2)


@dataclass(frozen=True)
class Times:
    """Of one program, for each round: the least seconds of the whole, of the reference, and the
    seconds of each step [rounds, steps] in the fastest of the runs that timed them.
    """

    whole: NDArray[np.float64]
    reference: NDArray[np.float64]
    steps: NDArray[np.float64]

    def seconds(self, nominal: float) -> float:
        """Of the whole, on a machine as fast as where the reference takes ``nominal`` seconds."""
        return float(nominal * np.median(self.whole / self.reference))

    def of_steps(self, nominal: float) -> NDArray[np.float64]:
        """The same for each step; together they take the median of what they took together."""
        shares = self.steps / self.reference[:, None]
        found = np.median(shares, axis=0)
        together = np.median(shares.sum(axis=1))
        return np.asarray(nominal * found * together / found.sum())

    @property
    def noise(self) -> float:
        """How far the first half of the rounds is from the second, as a share of the time."""
        ratios = self.whole / self.reference
        half = len(ratios) // 2
        if not half:
            return math.nan
        first, second = np.median(ratios[:half]), np.median(ratios[half:])
        return float(abs(first - second) / second)


class Subject:
    """An artifact with inputs and outputs of its own."""

    def __init__(self, artifact: Artifact) -> None:
        rng = np.random.default_rng(0)
        described = artifact.description
        self._artifact = artifact
        self._steps = len(described.steps)
        self._session = Session(artifact)
        self._session.inputs = [
            rng.integers(0, 256, t.shape, np.uint8)
            if t.dtype == "uint8"
            else rng.standard_normal(t.shape).astype(np.float32)
            for t in described.inputs
        ]
        self._out = tuple(np.empty(t.shape, np.float32) for t in described.outputs)

    def run(self) -> float:
        """Seconds of one run."""
        start = time.perf_counter()
        self._artifact.run(*self._session.inputs, out=self._out)
        return time.perf_counter() - start

    def run_steps(self) -> NDArray[np.float64]:
        """Seconds of each step of one run."""
        seconds = np.zeros(self._steps)
        self._session.run(0, self._steps, seconds)
        return seconds

    def fastest(self, runs: int) -> float:
        """The least seconds of ``runs``, after one that finds another program in the caches."""
        self.run()
        return min(self.run() for _ in range(runs))


def in_turns(subjects: Sequence[Subject], reference: Subject, rounds: int) -> list[Times]:
    """Every subject in every round, each behind the reference."""
    whole = np.zeros((rounds, len(subjects)))
    ahead = np.zeros_like(whole)
    steps: list[list[NDArray[np.float64]]] = [[] for _ in subjects]
    order = list(range(len(subjects)))
    for number in range(rounds):
        for i in order:
            ahead[number, i] = reference.fastest(RUNS.reference)
            whole[number, i] = subjects[i].fastest(RUNS.whole)
            timed = [subjects[i].run_steps() for _ in range(RUNS.steps)]
            steps[i].append(min(timed, key=lambda seconds: float(seconds.sum())))
        order.reverse()
    return [Times(whole[:, i], ahead[:, i], np.array(s)) for i, s in enumerate(steps)]


@contextmanager
def undisturbed() -> Iterator[None]:
    """Keep this thread on one core, and before others there if the system allows that.

    It is the last core that the thread may use: the first serves most interrupts.
    """
    allowed = os.sched_getaffinity(0)
    policy, before = os.sched_getscheduler(0), os.sched_getparam(0)
    os.sched_setaffinity(0, {max(allowed)})
    try:
        with suppress(PermissionError):
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
        yield
    finally:
        with suppress(PermissionError):
            os.sched_setscheduler(0, policy, before)
        os.sched_setaffinity(0, allowed)
