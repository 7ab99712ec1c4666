"""Which schedule a task gets: a record, else the cost model's best, else the rule.

A batch goes image after image, so most records of one image serve a batch that has none. Kernels
compute whole words and vectors: tasks that are equal there (``Task.whole``) have one schedule, and
a record of one of them serves all.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from tvm import tirx

from bnn_compiler import families
from bnn_compiler.cost import model as models
from bnn_compiler.cost import records as record_files
from bnn_compiler.cost.model import CostModel
from bnn_compiler.cost.records import Record
from bnn_compiler.kernels.layout import LANES
from bnn_compiler.kernels.point import Point
from bnn_compiler.kernels.task import Task
from bnn_compiler.ops.storage import Storage
from bnn_compiler.target import Hardware, Target

log = logging.getLogger("bnn_compiler")

#: Vectors of 16 floats side by side, four cache lines, that make a stream.
_ENOUGH = 4


@dataclass(frozen=True)
class Choice:
    """A schedule of ``task`` and where it came from: "record", "model", "rule", or "fixed" where it
    is the only one.

    ``seconds`` and ``float_seconds`` are a record's, for a batch perhaps those of one image.
    """

    task: Task
    point: Point
    source: str
    seconds: float | None = None
    float_seconds: float | None = None

    @cached_property
    def function(self) -> tirx.PrimFunc:
        """The kernel, made when it is first asked for: it takes far longer than to choose it."""
        return families.function(self.task, self.point)


def _model(records: Path, target: Target) -> CostModel | None:
    """The cost model beside ``records``, if there is one: never of a GPU, which has no features."""
    if not isinstance(target.hardware, Hardware):
        return None
    return models.load(models.beside(records), target.hardware)


@dataclass
class Schedules:
    """The schedules of one target.

    ``shipped`` records serve where ``records`` has none, or a stale one.
    """

    target: Target
    records: dict[str, Record] = field(default_factory=dict)
    model: CostModel | None = None
    shipped: dict[str, Record] = field(default_factory=dict)
    stale: int = 0
    _choices: dict[Task, Choice] = field(default_factory=dict)
    _of_whole: dict[Task, Choice] = field(default_factory=dict)
    _fresh: dict[tuple[Task, Point, str], bool] = field(default_factory=dict)

    @staticmethod
    def load(target: Target, path: Path | None = None) -> "Schedules":
        """The shipped records and model of ``target``; those of ``path`` come first.

        Raises ScheduleError for a malformed file or a ``path`` that does not exist.
        """
        shipped = record_files.shipped(target)
        found: dict[str, Record] = {}
        others = record_files.read(shipped)
        model = _model(shipped, target)
        if path is not None:
            found = record_files.read(record_files.existing(path))
            model = _model(path, target) or model
        return Schedules(target, found, model, others)

    def pick(self, task: Task) -> Choice:
        """The schedule of ``task``; the same one every time."""
        if task not in self._choices:
            self.pick_all([task])
        return self._choices[task]

    def pick_like(self, task: Task, batch: int, other: int) -> Choice:
        """The schedule that the ``task`` of a network for ``batch`` images has in it for ``other``.

        So their constants lie alike. Where the task cannot have that schedule, its own.
        """
        count = task.work.shape[0] * other
        if count % batch:
            return self.pick(task)
        found = self.pick(task.of_batch(count // batch))
        if found.point in families.space(task, self.target.hardware):
            return replace(found, task=task)
        return self.pick(task)

    def pick_all(self, tasks: Sequence[Task]) -> list[Choice]:
        """The same for many, which costs less than one after the other."""
        new = {task: task.whole() for task in tasks if task not in self._choices}
        unknown = []
        for whole in dict.fromkeys(w for w in new.values() if w not in self._of_whole):
            found = self._only(whole) or self._recorded(whole) or self._batched(whole)
            if found is None:
                unknown.append(whole)
            else:
                self._of_whole[whole] = found
        self._of_whole.update(zip(unknown, self._predicted(unknown), strict=True))
        self._choices.update({t: replace(self._of_whole[w], task=t) for t, w in new.items()})
        return [self._choices[t] for t in tasks]

    def forget(self) -> None:
        """Give back the memory of what was picked; picked again, it is the same."""
        self._choices.clear()
        self._of_whole.clear()

    def _only(self, task: Task) -> Choice | None:
        space = families.space(task, self.target.hardware)
        return Choice(task, space[0], "fixed") if len(space) == 1 else None

    @cached_property
    def _known(self) -> dict[Task, list[Record]]:
        """Of each whole task: the user's fastest record, then the shipped one."""
        known: dict[Task, list[Record]] = {}
        for some in (self.records, self.shipped):
            fastest: dict[Task, Record] = {}
            for record in sorted(some.values(), key=lambda r: (r.seconds, r.task.key)):
                fastest.setdefault(record.task.whole(), record)
            for task, record in fastest.items():
                known.setdefault(task, []).append(record)
        return known

    def _recorded(self, task: Task) -> Choice | None:
        known = self._known.get(task, [])
        for record in known:
            if record.point in families.space(task, self.target.hardware):
                choice = Choice(task, record.point, "record", record.seconds, record.float_seconds)
                if self._is_fresh(record):
                    return choice
        if not known:
            return None
        if self.stale == 0:
            log.warning(
                "schedule records of %s are stale (the kernels have changed since), so they are not"
                " used: tune again. First: %s",
                self.target.name,
                known[0].task,
            )
        self.stale += 1
        return None

    def _is_fresh(self, record: Record) -> bool:
        """Whether the record's kernel is still the one that was tuned; looked at once."""
        key = (record.task, record.point, record.kernel)
        if key not in self._fresh:
            function = families.function(record.task, record.point)
            self._fresh[key] = families.digest(function, self.target) == record.kernel
        return self._fresh[key]

    def _batched(self, task: Task) -> Choice | None:
        """The record of one image; every point of its space is one of the batch's too.

        Not if its tile leaves gaps in the rows of pixels: a batch's do not stay in L2, and what
        comes from further away comes in order. The model knows other tiles.
        """
        if task.work.shape[0] == 1:
            return None
        known = self._recorded(task.of_batch(1))
        if known is None:
            return None
        counts = families.counts(task, known.point, self.target.hardware)
        widest = counts.grouping.outputs // LANES
        if self.model is not None and counts.vectors < min(_ENOUGH, widest):
            return None
        return replace(known, task=task)

    def _predicted(self, tasks: Sequence[Task]) -> list[Choice]:
        # No model has learnt of kernels on bytes.
        seen = [t for t in tasks if t.work.x.storage is not Storage.BYTES]
        points = self.model.best_of_each(seen) if self.model else []
        found = dict(zip(seen, points, strict=False))
        return [
            Choice(t, found[t], "model")
            if t in found
            else Choice(t, families.rule(t, self.target.hardware), "rule")
            for t in tasks
        ]
