"""Tuning: MetaSchedule's loop with our space, cost model, builder, runner and journal."""

import contextlib
import importlib
import logging
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import tvm
from tvm.ir.utils import derived_object
from tvm.s_tir import meta_schedule as ms
from tvm.target import Target as TvmTarget

from bnn_compiler import families, roofline
from bnn_compiler.cost import features
from bnn_compiler.cost import model as models
from bnn_compiler.cost import records as record_files
from bnn_compiler.cost.model import CostModel, Quality
from bnn_compiler.cost.records import Record
from bnn_compiler.device.measure import Here, Machine
from bnn_compiler.errors import ScheduleError
from bnn_compiler.kernels.cpu import intrinsics
from bnn_compiler.kernels.point import Point
from bnn_compiler.kernels.task import Task
from bnn_compiler.ops.storage import Storage
from bnn_compiler.runtime.bounds import bound
from bnn_compiler.target import Target
from bnn_compiler.tune.float_times import with_float_times
from bnn_compiler.tune.journal import Journal, Trial
from bnn_compiler.tune.strategy import Ranked, Search, TaskSearch
from bnn_compiler.tune.workers import (
    BUILD_SECONDS,
    Builder,
    Runner,
    attributes,
    cores,
    pool,
)

#: Candidates measured between two fits of the model.
_BATCH = 16
#: Operators by what their input holds, for the roofline.
_OPERATORS = {
    Storage.BITS: "bnn.conv2d",
    Storage.FLOAT32: "bnn.float_conv2d",
    Storage.INT16: "bnn.byte_conv2d",
}
#: Measurements, and shapes among them, that make a model worth keeping.
_MODEL, _SHAPES = 200, 8


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
        made: Mapping[str, tuple[Task, Point]],
    ) -> None:
        super().__init__()
        self.made = made
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
        """Called by MetaSchedule after each batch: what it measured is in the journal already."""
        for measured, built in zip(measure_candidates, builder_results, strict=True):
            if built.error_msg:
                self._add(*attributes(measured), None, str(built.error_msg))
        self.tell(progress(self.searches, self.weights, self.bounds, task_id))

    def ended(self, path: str, result: ms.runner.RunnerResult) -> None:
        """Write down what a program measured, or what went wrong."""
        seconds = None if result.error_msg else min(float(s) for s in result.run_secs)
        self._add(*self.made[path], seconds, str(result.error_msg or ""))

    def _add(self, task: Task, point: Point, seconds: float | None, error: str) -> None:
        search = self.searches[0].search
        if error and search.stop is not None:
            # Not the candidate's fault: it can be tried again.
            return
        try:
            search.journal.add(Trial(task, point, seconds, error))
        except ScheduleError as e:
            search.fault(e)


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
    machine: Machine | None = None,
    tell: Tell = lambda state: None,
) -> Report:
    """Find the best schedules of ``tasks`` (with how often each occurs) on ``machine`` (this one).

    At most ``trials`` for each task and ``seconds`` in all. Every trial is in ``journal`` at once,
    and counts again when the search is resumed. Writes the records to ``schedules`` and the cost
    model next to it, also when interrupted.

    Raises ScheduleError if another process uses the journal, or nothing could be measured, and
    DeviceError if ``machine`` fails.
    """
    machine = machine or Here()
    logging.getLogger("tvm.s_tir.meta_schedule").setLevel(logging.ERROR)
    deadline = None if seconds is None else time.monotonic() + seconds
    known = record_files.check(schedules)
    model = models.load(models.beside(schedules), target.hardware)
    with (
        Journal(journal, target, machine.name) as log,
        tempfile.TemporaryDirectory(prefix="bnnc-tune-") as folder,
        pool(cores(), BUILD_SECONDS) as builders,
    ):
        search = Search(log, target, trials, deadline, model)
        builder = Builder(target, Path(folder), builders, search.fault, static=not machine.here)
        searches = [TaskSearch(search, t, _known_point(known.get(t.key), target)) for t in tasks]
        bounds = _bounds(tasks, target) if machine.here else {}
        if searches and not search.over():
            with _interruptible(search):
                trials_log = _Log(searches, list(tasks.values()), bounds, tell, builder.made)
                runner = Runner(machine, search.fault, trials_log.ended)
                try:
                    _run(searches, trials_log, builder, runner)
                except RuntimeError:
                    # What TVM makes of a second Ctrl-C. The first one is reported.
                    if not isinstance(search.stop, KeyboardInterrupt):
                        raise
        found = _best(searches, known)
        if found and not search.over():
            found = with_float_times(found, search.model, builder, Runner(machine, search.fault))
        return _finish(search, searches, found, schedules, bounds)


def conclude(tasks: Iterable[Task], target: Target, log: Journal, schedules: Path) -> Report:
    """Records and model of what is in the journal already.

    Raises ScheduleError if that holds no measurement of ``tasks``.
    """
    known = record_files.check(schedules)
    search = Search(log, target, trials=0)
    searches = [TaskSearch(search, t, _known_point(known.get(t.key), target)) for t in tasks]
    return _finish(search, searches, _best(searches, known), schedules, {})


def points_to_try(
    tasks: Iterable[Task], target: Target, schedules: Path, trials: int
) -> list[tuple[Task, Point]]:
    """What a search would measure before it has learnt anything: at most ``trials`` of each task.

    Those are the rule's schedule, the known record's, and those that the cost model likes; without
    a model, random ones.
    """
    known = record_files.read(schedules)
    model = models.load(models.beside(schedules), target.hardware)
    with tempfile.TemporaryDirectory() as folder, Journal(Path(folder) / "none", target) as empty:
        search = Search(empty, target, trials, model=model)
        searches = [TaskSearch(search, t, _known_point(known.get(t.key), target)) for t in tasks]
        return [(s.task, point) for s in searches for point in s.next(trials)]


def _finish(
    search: Search,
    searches: list[TaskSearch],
    found: dict[str, Record],
    schedules: Path,
    bounds: dict[str, float],
) -> Report:
    """Write the records and the model, or raise what stopped the search."""
    if found:
        record_files.update(schedules, found)
    _save_model(search, schedules)
    if search.stop is not None:
        raise search.stop
    mine = [t for s in searches for t in s.measured().values()]
    if not found:
        why = "; ".join(sorted({t.error for t in mine if t.error})[:3]) or "no time left"
        raise ScheduleError(f"no schedule could be measured: {why}")
    quality = None
    with contextlib.suppress(ScheduleError):
        quality = models.cross_validate(search.samples(), search.target.hardware)
    failed = sum(t.seconds is None for t in mine)
    return Report(schedules, list(found.values()), len(mine), failed, quality, bounds)


def _known_point(record: Record | None, target: Target) -> Point | None:
    """The schedule of a record that is not stale."""
    if record is None or record.point not in families.space(record.task, target.hardware):
        return None
    fresh = families.digest(families.function(record.task, record.point), target) == record.kernel
    return record.point if fresh else None


@contextlib.contextmanager
def _interruptible(search: Search) -> Iterator[None]:
    """Ctrl-C ends the search after the batch that is running; a second one ends it at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGINT)

    def stop(number: int, frame: object) -> None:
        search.stop = KeyboardInterrupt()
        signal.signal(signal.SIGINT, before)

    signal.signal(signal.SIGINT, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _save_model(search: Search, schedules: Path) -> None:
    """Keep a model that has learnt from enough, and from more than the one that is there."""
    known = models.load(models.beside(schedules), search.target.hardware)
    samples = search.samples()
    if len(samples) < _MODEL or len({s.task.work for s in samples}) < _SHAPES:
        return
    if known is None or len(samples) >= known.samples:
        CostModel.fit(samples, search.target.hardware).save(models.beside(schedules))


def _run(searches: list[TaskSearch], log: _Log, builder: Builder, runner: Runner) -> None:
    with intrinsics.fast_inspect():
        # Every TuneContext needs TVM's own intrinsics.
        importlib.import_module("tvm.s_tir.tensor_intrin")
    device = TvmTarget({**builder.device.tvm, "num-cores": 1})
    contexts = [
        ms.TuneContext(
            tvm.IRModule({"main": families.function(s.task, s.rule)}),
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
    ms.task_scheduler.GradientBased(seed=1).tune(
        contexts,
        task_weights=[float(w) for w in log.weights],
        max_trials_global=sum(s.most for s in searches),
        max_trials_per_task=max(s.most for s in searches),
        num_trials_per_iter=_BATCH,
        builder=builder,
        runner=runner,
        measure_callbacks=[log],
        database=None,
        cost_model=None,
    )


def _bounds(tasks: Mapping[Task, int], target: Target) -> dict[str, float]:
    """Seconds at the roofline of this core; empty where that cannot be measured."""
    peaks, _ = roofline.peaks(target.features, 1)
    if peaks is None:
        return {}
    return {
        t.key: bound(
            peaks, macs=t.work.products, op=_OPERATORS[t.work.x.storage], size=features.traffic(t)
        ).seconds
        for t in tasks
    }


def _best(searches: list[TaskSearch], known: dict[str, Record]) -> dict[str, Record]:
    """The best of each search; none where the schedule known before was not measured again."""
    found: dict[str, Record] = {}
    for search in searches:
        best, measured = search.best(), search.measured()
        if best is None or best.seconds is None:
            continue
        if search.known is not None and search.known not in measured:
            continue
        before = known.get(search.task.key)
        found[search.task.key] = Record(
            search.task,
            best.point,
            best.seconds,
            search.rule_seconds(),
            len(measured),
            families.digest(families.function(search.task, best.point), search.search.target),
            before.float_seconds if before else None,
        )
    return found
