"""What candidates are judged by: workers of a pool, on this machine or on others.

``workers.Workers`` hands out candidates and collects answers; a pool only starts workers, waits for
them and carries words to and fro: ``processes.Processes``, ``cluster.Cluster``.
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

from bnn_compiler.errors import SearchError
from bnn_compiler.search.accuracy import Evaluate, Lost, judge
from bnn_compiler.search.plans import Plan

#: Makes a worker's judge of a stage, once; pickled, so a function of a module or a dataclass.
Make = Callable[[str], Evaluate]


class Gone(Exception):
    """A worker is no more, and with it the answer it owed; says how it went, as of "it ..."."""


class Worker(Protocol):
    """One that judges one candidate at a time. It is ``there`` when it can be asked."""

    there: bool

    def ask(self, stage: str, plan: Plan, seed: int) -> None:
        """Give it a candidate; one that is gone already says so in ``answer``."""

    def answer(self) -> float | Lost | None:
        """What its candidate is worth; None if all it has to say is that it is there.

        Raises Gone.
        """

    def end(self) -> None:
        """Stop it, whatever it does."""


class Pool(Protocol):
    """Where workers live.

    A candidate whose worker is gone is given to ``chances`` workers in all before it is lost.
    """

    chances: int

    def start(self, make: Make) -> Worker:
        """A new worker, which may not be there yet."""

    def ready(self, workers: Sequence[Worker]) -> Sequence[Worker]:
        """Wait until some of these have something to say, or are gone; those.

        Raises SearchError if there is nothing to wait for any more.
        """


@runtime_checkable
class Luggage(Protocol):
    """A Make whose judges read and leave files: what a worker elsewhere is sent, and sends back.

    ``folder`` is where the files are here.
    """

    @property
    def folder(self) -> Path:
        """Of this machine."""

    def at(self, folder: Path) -> Make:
        """The same for a folder elsewhere."""

    def packed(self, stage: str) -> Mapping[str, bytes]:
        """The files that judges of a stage read, by their names in the folder."""

    def left(self, stage: str, plan: Plan, seed: int) -> Sequence[str]:
        """The files that judging a candidate may leave in the folder."""


class Desk:
    """What a worker works at: the judge of one stage at a time, made when it is first asked."""

    def __init__(self, make: Make) -> None:
        self._make = make
        self._judges: dict[str, Evaluate] = {}

    def judge(self, stage: str, plan: Plan, seed: int) -> float | Lost:
        """Of one candidate; whatever goes wrong costs this one only."""
        if stage not in self._judges:
            self._judges = {stage: _made(self._make, stage)}
        return judge(self._judges[stage], plan, seed)


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
