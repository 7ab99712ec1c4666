"""Tuning: MetaSchedule's loop with our space, cost model, builder, runner and journal."""

import contextlib
import importlib
import logging
import math
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import tvm
from tvm.ir.utils import derived_object
from tvm.s_tir import meta_schedule as ms
from tvm.target import Target as TvmTarget

from bnn_compiler import roofline
from bnn_compiler.errors import ScheduleError
from bnn_compiler.kernels import families, intrinsics
from bnn_compiler.kernels.task import Task, digest
from bnn_compiler.runtime.bounds import bound
from bnn_compiler.target import Target
from bnn_compiler.tune import features
from bnn_compiler.tune import model as models
from bnn_compiler.tune import records as record_files
from bnn_compiler.tune.journal import Journal, Trial
from bnn_compiler.tune.model import CostModel, Quality
from bnn_compiler.tune.records import Record
from bnn_compiler.tune.strategy import Ranked, Search, TaskSearch, candidate
from bnn_compiler.tune.workers import Builder, Runner, attributes

#: Candidates measured between two fits of the model.
_BATCH = 16
#: Channels of a group below which a word is so empty that float32 may be faster.
_FEW = 64


@dataclass(frozen=True)
class Progress:
    """State after a batch of ``task``.

    ``best``, ``rule`` and ``bound`` (the roofline; 0 if it is not known) are seconds of one run of
    every kernel measured so far, as often as the network has it. ``most`` is the budget of trials.
    """

    trials: int
    most: int
    failed: int
    best: float
    rule: float
    bound: float
    task: str


@dataclass(frozen=True)
class Report:
    """What a tuning run found; ``quality`` is the model's, if there were samples enough.

    ``bounds`` has the roofline in seconds by task key, where it is known.
    """

    path: Path
    records: list[Record]
    trials: int
    failed: int
    quality: Quality | None
    bounds: dict[str, float]


@derived_object
class _Log(ms.measure_callback.PyMeasureCallback):
    """Writes each trial to the journal and tells the caller how far the search is."""

    def __init__(
        self,
        searches: list[TaskSearch],
        weights: list[int],
        bounds: dict[str, float],
        tell: "Tell",
    ) -> None:
        super().__init__()
        self.searches = searches
        self.weights = weights
        self.bounds = bounds
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
        for measured, built, ran in results:
            task, point = attributes(measured)
            error = built.error_msg or ran.error_msg
            seconds = None if error else min(float(s) for s in ran.run_secs)
            journal.add(Trial(task, point, seconds, str(error or "")))
        self.tell(progress(self.searches, self.weights, self.bounds, task_id))


Tell = Callable[[Progress], None]


def progress(
    searches: list[TaskSearch], weights: list[int], bounds: dict[str, float], current: int
) -> Progress:
    """How far all searches are."""
    best, rule, bound = 0.0, 0.0, 0.0
    for search, weight in zip(searches, weights, strict=True):
        found, default = search.best(), search.rule_seconds()
        if found and found.seconds and default:
            best, rule = best + weight * found.seconds, rule + weight * default
            bound += weight * bounds.get(search.task.key, 0.0)
    trials = [t for s in searches for t in s.measured().values()]
    return Progress(
        len(trials),
        sum(min(s.search.trials, len(s.space)) for s in searches),
        sum(t.seconds is None for t in trials),
        best,
        rule,
        bound,
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
        bounds = _bounds(tasks, target)
        try:
            if searches and not search.over():
                _run(searches, _Log(searches, list(tasks.values()), bounds, tell), target)
        finally:
            found = _write_records(searches, schedules)
        found = _add_float_times(found, target, schedules)
        if not found:
            errors = {t.error for t in log.trials if t.error}
            why = "; ".join(sorted(errors)[:3]) or "no time left"
            raise ScheduleError(f"no schedule could be measured: {why}")
        samples = search.samples()
        CostModel.fit(samples, target.hardware).save(models.beside(schedules))
        quality = None
        with contextlib.suppress(ScheduleError):
            quality = models.cross_validate(samples, target.hardware)
        mine = [t for s in searches for t in s.measured().values()]
        failed = sum(t.seconds is None for t in mine)
        return Report(schedules, list(found.values()), len(mine), failed, quality, bounds)


def _run(searches: list[TaskSearch], log: _Log, target: Target) -> None:
    with intrinsics.fast_inspect():
        # Every TuneContext needs TVM's own intrinsics.
        importlib.import_module("tvm.s_tir.tensor_intrin")
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
            task_weights=[float(w) for w in log.weights],
            max_trials_global=sum(len(s.space) for s in searches),
            max_trials_per_task=max(len(s.space) for s in searches),
            num_trials_per_iter=_BATCH,
            builder=Builder(target, Path(folder)),
            runner=Runner(),
            measure_callbacks=[log],
            database=None,
            cost_model=None,
        )


def _add_float_times(found: dict[str, Record], target: Target, path: Path) -> dict[str, Record]:
    """Measure binary layers of few channels in float32 too, for ``profile`` to mention."""
    few = {
        key: record
        for key, record in found.items()
        if families.is_binary(record.task.work)
        and record.task.work.x.shape[3] // record.task.work.groups < _FEW
        and record.float_seconds is None
    }
    if not few:
        return found
    with tempfile.TemporaryDirectory(prefix="bnnc-tune-") as folder:
        forms = [record.task.as_float() for record in few.values()]
        candidates = [candidate(f, families.rule(f.work, target.hardware)) for f in forms]
        built = Builder(target, Path(folder)).build(
            [ms.builder.BuilderInput(c.sch.mod, TvmTarget("llvm")) for c in candidates]
        )
        ran = [
            future.result()
            for future in Runner().run(
                [
                    ms.runner.RunnerInput(b.artifact_path or "", "cpu", c.args_info)
                    for b, c in zip(built, candidates, strict=True)
                ]
            )
        ]
    for (key, record), result in zip(few.items(), ran, strict=True):
        if not result.error_msg:
            seconds = min(float(s) for s in result.run_secs)
            found[key] = replace(record, float_seconds=seconds)
    record_files.write(path, record_files.read(path) | found)
    return found


def _bounds(tasks: Mapping[Task, int], target: Target) -> dict[str, float]:
    """Seconds at the roofline of this core; empty where that cannot be measured."""
    peaks, _ = roofline.peaks(target.features, 1)
    if peaks is None:
        return {}
    return {
        t.key: bound(
            peaks, macs=t.work.macs, binary=families.is_binary(t.work), size=features.traffic(t)
        ).seconds
        for t in tasks
    }


def _write_records(searches: list[TaskSearch], path: Path) -> dict[str, Record]:
    """Add the best of each search to the records in ``path``."""
    found: dict[str, Record] = {}
    for search in searches:
        best = search.best()
        if best is None or best.seconds is None:
            continue
        known = record_files.read(path).get(search.task.key)
        found[search.task.key] = Record(
            search.task,
            best.point,
            best.seconds,
            search.rule_seconds() or math.nan,
            len(search.measured()),
            digest(search.task.function(best.point)),
            known.float_seconds if known else None,
        )
    if found:
        record_files.write(path, record_files.read(path) | found)
    return found
