"""Candidates are handed out to the workers of a pool, and their answers are put in order.

Which worker gets which candidate, and how many there are, does not matter: a result depends on the
plan and its seed alone.
"""

from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from bnn_compiler.closing import Closing
from bnn_compiler.errors import SearchError
from bnn_compiler.search.accuracy import Lost
from bnn_compiler.search.plans import Plan
from bnn_compiler.search.pool import Gone, Make, Pool, Worker
from bnn_compiler.search.processes import Processes

#: Candidates judged so far, of how many.
Tell = Callable[[int, int], None]
#: Workers that may be gone, one after the other, before any of them was there.
_STARTS = 3


@dataclass
class _Seat:
    """A worker, and the index of the candidate it has, if it has one."""

    worker: Worker
    index: int | None = None

    @property
    def free(self) -> bool:
        """It can be given a candidate."""
        return self.worker.there and self.index is None


@dataclass
class Workers(Closing):
    """At most ``count`` workers that judge candidates by what ``make`` makes; use it in a ``with``.

    They stay from one stage of a search to the next. Raises SearchError for none.
    """

    make: Make
    count: int = 1
    tell: Tell = lambda done, total: None
    pool: Pool = field(default_factory=Processes)
    _seats: list[_Seat] = field(default_factory=list)
    _failed: int = 0

    def __post_init__(self) -> None:
        if self.count < 1:
            raise SearchError(f"{self.count} workers: give at least 1")

    def at(self, stage: str) -> "Stage":
        """The judge of a stage, as ``make`` makes it."""
        return Stage(self, stage)

    def of(self, stage: str, plans: Sequence[Plan], seeds: Sequence[int]) -> list[float | Lost]:
        """The accuracy of each plan, in order.

        Raises SearchError if no worker can be had.
        """
        batch = _Batch(stage, list(zip(plans, seeds, strict=True)), self.pool.chances)
        try:
            while len(batch.results) < len(plans):
                self._hand_out(batch)
                waited = {id(s.worker): s for s in self._seats if not s.free}
                for worker in self.pool.ready([s.worker for s in waited.values()]):
                    before = len(batch.results)
                    self._hear(waited[id(worker)], batch)
                    if len(batch.results) > before:
                        self.tell(len(batch.results), len(plans))
        except BaseException:
            # Its workers have candidates that nobody waits for any more.
            self.close()
            raise
        return [batch.results[i] for i in range(len(plans))]

    def close(self) -> None:
        """End the workers."""
        for seat in self._seats:
            seat.worker.end()
        self._seats.clear()

    def _hand_out(self, batch: "_Batch") -> None:
        """Give candidates to whoever is free, and start more workers for the rest."""
        for seat in self._seats:
            if seat.free and batch.waiting:
                self._ask(seat, batch)
        coming = sum(not s.worker.there for s in self._seats)
        while len(self._seats) < self.count and coming < len(batch.waiting):
            seat = _Seat(self.pool.start(self.make))
            self._seats.append(seat)
            if seat.free:
                self._ask(seat, batch)
            else:
                coming += 1

    def _ask(self, seat: _Seat, batch: "_Batch") -> None:
        seat.index = batch.waiting.popleft()
        plan, seed = batch.asked[seat.index]
        seat.worker.ask(batch.stage, plan, seed)

    def _hear(self, seat: _Seat, batch: "_Batch") -> None:
        """What a worker has to say: that it is there, its answer, or that it is gone."""
        index, seat.index = seat.index, None
        try:
            found = seat.worker.answer()
        except Gone as e:
            self._seats.remove(seat)
            if index is not None:
                batch.lost(index, str(e))
                return
            self._failed += 1
            if self._failed >= _STARTS:
                raise SearchError(f"no worker can be started: it {e}") from e
            return
        self._failed = 0
        if index is not None and found is not None:
            batch.results[index] = found


@dataclass
class _Batch:
    """Candidates (plan, seed) of one call; ``waiting`` are the indices of those to hand out."""

    stage: str
    asked: list[tuple[Plan, int]]
    chances: int
    results: dict[int, float | Lost] = field(default_factory=dict)
    losses: Counter[int] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.waiting = deque(range(len(self.asked)))

    def lost(self, index: int, why: str) -> None:
        """The worker that had it is gone: ask for it again, or give it up."""
        self.losses[index] += 1
        if self.losses[index] < self.chances:
            self.waiting.appendleft(index)
        else:
            times = f", the last of {self.chances} that had it" if self.chances > 1 else ""
            self.results[index] = Lost(f"its worker {why}{times}")


@dataclass(frozen=True)
class Stage:
    """An Accuracy: the workers at one stage."""

    workers: Workers
    name: str

    def of(self, plans: Sequence[Plan], seeds: Sequence[int]) -> list[float | Lost]:
        """As of any Accuracy."""
        return self.workers.of(self.name, plans, seeds)
