"""Which schedule a task gets: a record, else the cost model's best, else the rule.

A batch goes image after image, so most records of one image serve a batch that has none.
"""

import logging
from dataclasses import dataclass, field, replace
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
from bnn_compiler.target import Target

log = logging.getLogger("bnn_compiler")

#: Vectors of 16 floats side by side, four cache lines, that make a stream.
_ENOUGH = 4


@dataclass(frozen=True)
class Choice:
    """A schedule, where it came from ("record", "model", "rule", or "fixed" where it is the only
    one), and the kernel.

    ``seconds`` and ``float_seconds`` are a record's, for a batch perhaps those of one image.
    """

    point: Point
    source: str
    function: tirx.PrimFunc
    seconds: float | None = None
    float_seconds: float | None = None


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
    _choices: dict[str, Choice] = field(default_factory=dict)

    @staticmethod
    def load(target: Target, path: Path | None = None) -> "Schedules":
        """The shipped records and model of ``target``; those of ``path`` come first.

        Raises ScheduleError for a malformed file or a ``path`` that does not exist.
        """
        shipped = record_files.shipped(target)
        found: dict[str, Record] = {}
        others = record_files.read(shipped)
        model = models.load(models.beside(shipped), target.hardware)
        if path is not None:
            found = record_files.read(record_files.existing(path))
            model = models.load(models.beside(path), target.hardware) or model
        return Schedules(target, found, model, others)

    def pick(self, task: Task) -> Choice:
        """The schedule of ``task``; the same one every time."""
        if task.key not in self._choices:
            self._choices[task.key] = (
                self._only(task)
                or self._recorded(task)
                or self._batched(task)
                or self._predicted(task)
            )
        return self._choices[task.key]

    def _only(self, task: Task) -> Choice | None:
        space = families.space(task, self.target.hardware)
        if len(space) > 1:
            return None
        return Choice(space[0], "fixed", families.function(task, space[0]))

    def _recorded(self, task: Task) -> Choice | None:
        known = [r for r in (self.records.get(task.key), self.shipped.get(task.key)) if r]
        for record in known:
            if record.point in families.space(task, self.target.hardware):
                function = families.function(task, record.point)
                if families.digest(function, self.target) == record.kernel:
                    return Choice(
                        record.point, "record", function, record.seconds, record.float_seconds
                    )
        if not known:
            return None
        if self.stale == 0:
            log.warning(
                "schedule records of %s are stale (the kernels have changed since), so they are not"
                " used: tune again. First: %s",
                self.target.name,
                task,
            )
        self.stale += 1
        return None

    def _batched(self, task: Task) -> Choice | None:
        """The record of one image; every point of its space is one of the batch's too.

        Not if its tile leaves gaps in the rows of pixels: a batch's do not stay in L2, and what
        comes from further away comes in order. The model knows other tiles.
        """
        if task.work.shape[0] == 1:
            return None
        known = self._recorded(task.of_one_image())
        if known is None:
            return None
        counts = families.counts(task, known.point, self.target.hardware)
        widest = counts.grouping.outputs // LANES
        if self.model is not None and counts.vectors < min(_ENOUGH, widest):
            return None
        return replace(known, function=families.function(task, known.point))

    def _predicted(self, task: Task) -> Choice:
        if self.model is None:
            point = families.rule(task, self.target.hardware)
            return Choice(point, "rule", families.function(task, point))
        point = self.model.best(task)
        return Choice(point, "model", families.function(task, point))
