"""Which schedule a task gets: a record, else the cost model's best, else the rule.

A record is of one CPU. Those of others are weighed (weigh.py) where the CPU at hand has none.

A batch goes image after image, so most records of one image serve a batch that has none. Kernels
compute whole words and vectors: tasks that are equal there (``Task.whole``) have one schedule, and
a record of one of them serves all.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from statistics import median

from tvm import tirx

from bnn_compiler import families
from bnn_compiler import target as targets
from bnn_compiler.cost import cpus
from bnn_compiler.cost import model as models
from bnn_compiler.cost import records as record_files
from bnn_compiler.cost.model import CostModel
from bnn_compiler.cost.records import Record
from bnn_compiler.cost.weigh import weigh
from bnn_compiler.kernels.layout import LANES
from bnn_compiler.kernels.point import Point
from bnn_compiler.kernels.task import Task
from bnn_compiler.ops.storage import Storage
from bnn_compiler.target import Gpu, Target

log = logging.getLogger("bnn_compiler")

#: Vectors of 16 floats side by side, four cache lines, that make a stream.
_ENOUGH = 4
#: Records of a kind that say how good the rule is, and a share of the time that is little.
_SOME, _LITTLE = 4, 0.05


@dataclass(frozen=True)
class Choice:
    """A schedule of ``task`` and where it came from: "record", "model", "rule", or "fixed" where it
    is the only one.

    ``seconds`` and ``float_seconds`` are a record's, for a batch perhaps those of one image, and
    ``cpu`` is what it was measured on.
    """

    task: Task
    point: Point
    source: str
    seconds: float | None = None
    float_seconds: float | None = None
    cpu: str = ""

    @cached_property
    def function(self) -> tirx.PrimFunc:
        """The kernel, made when it is first asked for: it takes far longer than to choose it."""
        return families.function(self.task, self.point)


def _of_record(task: Task, record: Record) -> Choice:
    return Choice(task, record.point, "record", record.seconds, record.float_seconds, record.cpu)


@dataclass
class Schedules:
    """The schedules of one target on one ``cpu`` (cpus.py), the one of ``models`` too.

    ``shipped`` records serve where ``records`` has none, or a stale one; so do those of the target
    that ``target`` takes schedules of, ``lender``, and a model knows the schedules of its own.
    """

    target: Target
    records: dict[str, Record] = field(default_factory=dict)
    models: dict[str, CostModel] = field(default_factory=dict)
    shipped: dict[str, Record] = field(default_factory=dict)
    cpu: str = ""
    stale: int = 0
    lender: Target | None = None
    _rule_losses: dict[Storage, list[float]] = field(default_factory=dict)
    _choices: dict[Task, Choice] = field(default_factory=dict)
    _of_whole: dict[Task, Choice] = field(default_factory=dict)
    _fresh: dict[tuple[Task, Point, str], bool] = field(default_factory=dict)

    @staticmethod
    def load(target: Target, path: Path | None = None, cpu: str | None = None) -> "Schedules":
        """The shipped records and models of ``target``; those of ``path`` come first.

        ``cpu`` is what will run them (default: ``cpus.of``).

        Raises ScheduleError for a malformed file or a ``path`` that does not exist.
        """
        lender = targets.load(target.schedules) if target.schedules else None
        found: dict[str, Record] = {}
        others: dict[str, Record] = {}
        known: dict[str, CostModel] = {}
        for one in (lender, target):
            if one is not None:
                shipped = record_files.shipped(one)
                others |= record_files.read(shipped)
                known |= models.all_beside(shipped, one.hardware)
        if path is not None:
            found = record_files.read(record_files.existing(path))
            known |= models.all_beside(path, target.hardware)
        here = cpus.of(target) if cpu is None else cpu
        return Schedules(target, found, known, others, here, lender=lender)

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
        first = list(islice(families.points(task, self.target.hardware), 2))
        return Choice(task, first[0], "fixed") if len(first) == 1 else None

    @cached_property
    def _known(self) -> dict[Task, list[Record]]:
        """Of each whole task: those of this CPU first, and the user's before the shipped ones; the
        fastest of each.
        """
        known: dict[Task, list[Record]] = {}
        for some in (self.records, self.shipped):
            fastest: dict[tuple[Task, str], Record] = {}
            for record in sorted(some.values(), key=lambda r: (r.seconds, r.key)):
                fastest.setdefault((record.task.whole(), record.cpu), record)
            for (task, _), record in fastest.items():
                known.setdefault(task, []).append(record)
        for found in known.values():
            found.sort(key=lambda r: not self._is_own(r))
        return known

    def _is_own(self, record: Record) -> bool:
        """Whether it was measured on this CPU; one that does not say is believed."""
        return record.cpu in (self.cpu, "")

    def _recorded(self, task: Task) -> Choice | None:
        known = self._known.get(task, [])
        if not known:
            return None
        space = families.space(task, self.target.hardware)
        others = []
        for record in known:
            if record.point in space and self._is_fresh(record):
                if self._is_own(record):
                    return _of_record(task, record)
                others.append(record)
        if others and self._rule_is_good(task):
            return Choice(task, families.rule(task, self.target.hardware), "rule")
        if others:
            found = weigh(task, others, self.models, self.cpu, self.target.hardware)
            if isinstance(found, Record):
                return _of_record(task, found)
            return Choice(task, found, "model")
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
            made_for = [t for t in (self.target, self.lender) if t is not None]
            self._fresh[key] = record.kernel in [families.digest(function, t) for t in made_for]
        return self._fresh[key]

    def _batched(self, task: Task) -> Choice | None:
        """The record of one image; every point of its space is one of the batch's too.

        Not if its tile leaves gaps in the rows of pixels: a batch's do not stay in L2, and what
        comes from further away comes in order. The model knows other tiles. Not on a GPU either:
        one image is split into parts to fill it, and a batch loses by that.
        """
        hardware = self.target.hardware
        if task.work.shape[0] == 1 or isinstance(hardware, Gpu):
            return None
        known = self._recorded(task.of_batch(1))
        if known is None:
            return None
        counts = families.counts(task, known.point, hardware)
        widest = counts.grouping.outputs // LANES
        if self.models and counts.vectors < min(_ENOUGH, widest):
            return None
        return replace(known, task=task)

    def _predicted(self, tasks: Sequence[Task]) -> list[Choice]:
        own = self.models.get(self.cpu)
        asked = [own] if own is not None else list(self.models.values())
        unsure = [t for t in tasks if asked and not self._rule_is_good(t)]
        points = dict(zip(unsure, models.best_of_each(asked, unsure), strict=True))
        return [
            Choice(t, points[t], "model")
            if t in points
            else Choice(t, families.rule(t, self.target.hardware), "rule")
            for t in tasks
        ]

    def _rule_is_good(self, task: Task) -> bool:
        """Whether the rule goes before what other CPUs' records and models say: this CPU has
        records of the task's kind, which say that the rule loses next to nothing, and no model.
        """
        storage = task.work.x.storage
        if storage is Storage.BYTES:
            # No model has learnt of kernels on bytes.
            return True
        if self.cpu in self.models:
            return False
        if storage not in self._rule_losses:
            known = [*self.records.values(), *self.shipped.values()]
            self._rule_losses[storage] = [
                r.rule_seconds / r.seconds - 1
                for r in known
                if r.cpu == self.cpu and r.task.work.x.storage is storage and r.rule_seconds
            ]
        found = self._rule_losses[storage]
        return len(found) >= _SOME and median(found) < _LITTLE
