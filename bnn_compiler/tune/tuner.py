"""Tuning: MetaSchedule's loop with our space, cost model, builder, runner and journal."""

import contextlib
import logging
import math
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import tvm
from tvm.ir.utils import derived_object
from tvm.s_tir import meta_schedule as ms
from tvm.target import Target as TvmTarget

from bnn_compiler.errors import ScheduleError
from bnn_compiler.kernels.task import Task, digest
from bnn_compiler.target import Target
from bnn_compiler.tune import model as models
from bnn_compiler.tune import records as record_files
from bnn_compiler.tune.journal import Journal, Trial
from bnn_compiler.tune.model import CostModel, Quality, Sample
from bnn_compiler.tune.records import Record
from bnn_compiler.tune.strategy import Ranked, Search, TaskSearch
from bnn_compiler.tune.workers import Builder, Runner, attributes

#: Candidates measured between two fits of the model.
_BATCH = 16


@dataclass(frozen=True)
class Progress:
    """State after a batch: ``best`` and ``rule`` are seconds of one run of all tasks' kernels."""

    trials: int
    failed: int
    tasks_done: int
    tasks: int
    best: float
    rule: float
    task: str


@dataclass(frozen=True)
class Report:
    """What a tuning run found; ``quality`` is the model's, if there were samples enough."""

    records: list[Record]
    trials: int
    failed: int
    quality: Quality | None


@derived_object
class _Log(ms.measure_callback.PyMeasureCallback):
    """Writes each trial to the journal and tells the caller how far the search is."""

    def __init__(self, searches: list[TaskSearch], weights: list[int], tell: "Tell") -> None:
        super().__init__()
        self.searches = searches
        self.weights = weights
        self.tell = tell

    def apply(
        self,
        task_scheduler: ms.TaskScheduler,
        task_id: int,
        measure_candidates: list[ms.MeasureCandidate],
        builder_results: list[ms.builder.BuilderResult],
        runner_results: list[ms.runner.RunnerResult],
    ) -> None:
        """Called by MetaSchedule after each batch."""
        journal = self.searches[task_id].search.journal
        results = zip(measure_candidates, builder_results, runner_results, strict=True)
        for candidate, built, ran in results:
            task, point = attributes(candidate)
            error = built.error_msg or ran.error_msg
            seconds = None if error else min(float(s) for s in ran.run_secs)
            journal.add(Trial(task, point, seconds, str(error or "")))
        self.tell(progress(self.searches, self.weights, task_id))


Tell = Callable[[Progress], None]


def progress(searches: list[TaskSearch], weights: list[int], current: int) -> Progress:
    """How far all searches are."""
    best, rule = 0.0, 0.0
    for search, weight in zip(searches, weights, strict=True):
        found, default = search.best(), search.rule_seconds()
        if found and found.seconds and default:
            best, rule = best + weight * found.seconds, rule + weight * default
    trials = [t for s in searches for t in s.measured().values()]
    return Progress(
        len(trials),
        sum(t.seconds is None for t in trials),
        sum(s.best() is not None for s in searches),
        len(searches),
        best,
        rule,
        str(searches[current].task),
    )


def tune(
    tasks: Mapping[Task, int],
    target: Target,
    *,
    journal: Path,
    schedules: Path,
    trials: int = 48,
    seconds: float | None = None,
    tell: Tell = lambda state: None,
) -> Report:
    """Find the best schedules of ``tasks`` (with how often each occurs) on this machine.

    At most ``trials`` for each task and ``seconds`` in all. Every trial is in ``journal`` at once,
    and counts again when the search is resumed. Writes the records to ``schedules`` and the cost
    model next to it, also when interrupted.

    Raises ScheduleError if another process uses the journal, or nothing could be measured.
    """
    logging.getLogger("tvm.s_tir.meta_schedule").setLevel(logging.ERROR)
    deadline = None if seconds is None else time.monotonic() + seconds
    with Journal(journal) as log:
        known = models.load(models.beside(schedules), target.hardware)
        search = Search(log, target.hardware, trials, deadline, known)
        searches = [TaskSearch(search, task) for task in tasks]
        try:
            if any(s.next(1) for s in searches):
                _run(searches, list(tasks.values()), target, tell)
        finally:
            found = _write_records(searches, schedules)
        if not found:
            errors = {t.error for t in log.trials if t.error}
            why = "; ".join(sorted(errors)[:3]) or "no time left"
            raise ScheduleError(f"no schedule could be measured: {why}")
        samples = [Sample(t.task, t.point, t.seconds) for t in log.trials if t.seconds is not None]
        CostModel.fit(samples, target.hardware).save(models.beside(schedules))
        quality = None
        with contextlib.suppress(ScheduleError):
            quality = models.cross_validate(samples, target.hardware)
        mine = [t for s in searches for t in s.measured().values()]
        failed = sum(t.seconds is None for t in mine)
        return Report(list(found.values()), len(mine), failed, quality)


def _run(searches: list[TaskSearch], weights: list[int], target: Target, tell: Tell) -> None:
    device = TvmTarget({**target.tvm, "num-cores": 1})
    contexts = [
        ms.TuneContext(
            tvm.IRModule({"main": s.task.function(s.rule)}),
            target=device,
            # The space is in the strategy: MetaSchedule only has to find one that is not empty.
            space_generator=ms.space_generator.ScheduleFn(
                lambda schedule: None, sch_rules=[], postprocs=[], mutator_probs={}
            ),
            search_strategy=Ranked(s),
            task_name=str(s.task),
            num_threads=1,
        )
        for s in searches
    ]
    with tempfile.TemporaryDirectory(prefix="bnnc-tune-") as folder:
        ms.task_scheduler.GradientBased(seed=1).tune(
            contexts,
            task_weights=[float(w) for w in weights],
            max_trials_global=sum(len(s.space) for s in searches),
            max_trials_per_task=max(len(s.space) for s in searches),
            num_trials_per_iter=_BATCH,
            builder=Builder(target, Path(folder)),
            runner=Runner(),
            measure_callbacks=[_Log(searches, weights, tell)],
            database=None,
            cost_model=None,
        )


def _write_records(searches: list[TaskSearch], path: Path) -> dict[str, Record]:
    """Add the best of each search to the records in ``path``."""
    found: dict[str, Record] = {}
    for search in searches:
        best = search.best()
        if best is None or best.seconds is None:
            continue
        found[search.task.key] = Record(
            search.task,
            best.point,
            best.seconds,
            search.rule_seconds() or math.nan,
            len(search.measured()),
            digest(search.task.function(best.point)),
        )
    if found:
        record_files.write(path, record_files.read(path) | found)
    return found
