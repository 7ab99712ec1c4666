"""Which schedules of a kernel to measure next: what the cost model likes, and a little at random.

A space is a few hundred points of plain data, so all of it can be ranked.
"""

import math
import threading
import time
from dataclasses import dataclass, field

import numpy as np

from bnn_compiler import families
from bnn_compiler.cost.model import CostModel, Sample
from bnn_compiler.kernels.point import Point
from bnn_compiler.kernels.task import Task
from bnn_compiler.target import Target
from bnn_compiler.tune.journal import Journal, Trial

#: Share of a batch drawn at random once there is a model.
_RANDOM = 0.25
#: Batches without an improvement of 1 % after which a task is done.
_PATIENCE = 2
#: The best schedules that are measured a second time.
_AGAIN = 4
#: Samples below which ranking is not better than chance.
_ENOUGH = 24


@dataclass
class Search:
    """What all tasks share: trials so far, the model learnt from them, the time that is left.

    ``cpu`` is what measures (cost/cpus.py); ``stopped`` is set when the user asks for an end.
    """

    journal: Journal
    target: Target
    trials: int
    deadline: float | None = None
    model: CostModel | None = None
    cpu: str = ""
    stopped: threading.Event = field(default_factory=threading.Event)
    _learnt: int = 0

    def over(self) -> bool:
        """Whether the time is spent or the user has asked for an end."""
        if self.stopped.is_set():
            return True
        return self.deadline is not None and time.monotonic() > self.deadline

    def samples(self) -> list[Sample]:
        """The fastest measurement of every schedule, of all tasks in the journal."""
        best: dict[tuple[Task, Point], float] = {}
        for t in self.journal.trials:
            if t.seconds is not None:
                at = (t.task, t.point)
                best[at] = min(t.seconds, best.get(at, math.inf))
        return [Sample(task, point, seconds) for (task, point), seconds in best.items()]

    def learn(self) -> None:
        """Fit the model again if there is enough that is new."""
        samples = self.samples()
        if len(samples) >= _ENOUGH and len(samples) > self._learnt:
            self.model = CostModel.fit(samples, self.target.hardware)
            self._learnt = len(samples)


@dataclass(eq=False)
class TaskSearch:
    """The search for one task; ``known`` is the schedule of the record it wants to beat."""

    search: Search
    task: Task
    known: Point | None = None
    _since_better: int = field(default=0)
    _confirmed: bool = field(default=False)
    _begun: bool = field(default=False)

    def __post_init__(self) -> None:
        self.space = families.space(self.task, self.search.target.hardware)
        self.rule = families.rule(self.task, self.search.target.hardware)
        if self.rule not in self.space:
            self.space.append(self.rule)
        self._points = set(self.space)
        self._rng = np.random.default_rng(len(self.space))

    def measured(self) -> dict[Point, Trial]:
        """The fastest trial of each point of the space."""
        found: dict[Point, Trial] = {}
        for trial in self.search.journal.of(self.task):
            if trial.point not in self._points:
                continue
            known = found.get(trial.point)
            if known is None or (trial.seconds or math.inf) < (known.seconds or math.inf):
                found[trial.point] = trial
        return found

    def best(self) -> Trial | None:
        """The fastest trial so far."""
        good = [t for t in self.measured().values() if t.seconds is not None]
        return min(good, key=lambda t: t.seconds or 0.0, default=None)

    def rule_seconds(self) -> float | None:
        """The time of the untuned schedule."""
        trial = self.measured().get(self.rule)
        return trial.seconds if trial else None

    def next(self, count: int) -> list[Point]:
        """Up to ``count`` points to try; none when the search is over."""
        done = self.measured()
        left = [p for p in self.space if p not in done]
        count = min(count, self.search.trials - len(done), len(left))
        if self.search.over():
            return []
        if count <= 0 or self._since_better >= _PATIENCE:
            return self._confirm(done)
        self.search.learn()
        # The rule once in every process: its outputs are what the others' are compared with.
        wanted = [] if self._begun else [self.rule]
        self._begun = True
        if self.known in left:
            wanted.append(self.known)
        first = list(dict.fromkeys(wanted))
        rest = [p for p in left if p not in first]
        if self.search.model is None:
            order = list(self._rng.permutation(len(rest)))
        else:
            ranked = list(np.argsort(self.search.model.predict(self.task, rest))) if rest else []
            sure = round(count * (1 - _RANDOM))
            order = ranked[:sure] + list(self._rng.permutation(np.array(ranked[sure:], int)))
        return [*first, *(rest[int(i)] for i in order)][:count]

    def _confirm(self, done: dict[Point, Trial]) -> list[Point]:
        """The best few and the rule once more: one of them may have met a slow moment."""
        if self._confirmed:
            return []
        self._confirmed = True
        good = [t for t in done.values() if t.seconds is not None]
        best = sorted(good, key=lambda t: t.seconds or 0.0)[:_AGAIN]
        return list(dict.fromkeys([self.rule, *(t.point for t in best)]))

    def told(self, before: Trial | None) -> None:
        """Note whether a batch improved on the best ``before`` it."""
        now = self.best()
        better = now and (not before or (now.seconds or 0) < 0.99 * (before.seconds or 0))
        self._since_better = 0 if better else self._since_better + 1
