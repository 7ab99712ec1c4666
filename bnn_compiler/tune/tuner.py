"""Tuning: the best schedule of every task, by measuring what the cost model likes."""

import contextlib
import functools
import signal
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from bnn_compiler import families, roofline
from bnn_compiler import target as targets
from bnn_compiler.cost import cpus, features
from bnn_compiler.cost import model as models
from bnn_compiler.cost import records as record_files
from bnn_compiler.cost.model import CostModel
from bnn_compiler.cost.records import Record
from bnn_compiler.device.measure import Here, Machine
from bnn_compiler.errors import ScheduleError
from bnn_compiler.kernels.point import Point
from bnn_compiler.kernels.task import Task
from bnn_compiler.ops.storage import Storage
from bnn_compiler.runtime.bounds import bound
from bnn_compiler.target import Target
from bnn_compiler.tune.float_times import with_float_times
from bnn_compiler.tune.journal import Journal
from bnn_compiler.tune.outcome import Tell, TuningReport, progress
from bnn_compiler.tune.rounds import round_robin
from bnn_compiler.tune.strategy import Search, TaskSearch
from bnn_compiler.tune.workshop import workshop

#: Operators by what their input holds, for the roofline.
_OPERATORS = {
    Storage.BITS: "bnn.conv2d",
    Storage.FLOAT32: "bnn.float_conv2d",
    Storage.INT16: "bnn.byte_conv2d",
    Storage.BYTES: "bnn.int8_conv2d",
}
#: Measurements, and shapes among them, that make a model worth keeping.
_MODEL, _SHAPES = 200, 8


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
) -> TuningReport:
    """Find the best schedules of ``tasks`` (with how often each occurs) on ``machine`` (this one).

    At most ``trials`` for each task and ``seconds`` in all. Every trial is in ``journal`` at once,
    and counts again when the search is resumed. Writes the records to ``schedules`` and the cost
    model next to it, also when the search ends with an error or Ctrl-C.

    Raises ScheduleError if another process uses the journal, or nothing could be measured, and
    DeviceError if ``machine`` fails.
    """
    machine = machine or Here()
    deadline = None if seconds is None else time.monotonic() + seconds
    cpu = cpus.of(target) if machine.here else cpus.board(target)
    known = _of_cpu(record_files.check(schedules), cpu)
    model = _model(schedules, target, cpu)
    with Journal(journal, target, machine.name) as log:
        search = Search(log, target, trials, deadline, model, cpu)
        searches = {_search(search, t, known): times for t, times in tasks.items()}
        bounds = _bounds(tasks, target) if machine.here else {}
        found: dict[str, Record] = {}
        try:
            with _ended_by_ctrl_c(search), workshop(target, machine) as shop:
                try:
                    round_robin(
                        list(searches),
                        shop.measure,
                        lambda current: tell(progress(searches, bounds, current)),
                    )
                finally:
                    found = _best(searches, known)
                if found and not search.over():
                    found = with_float_times(found, search.model, shop)
        finally:
            _write(search, found, schedules)
        if search.stopped.is_set():
            raise KeyboardInterrupt
        return _report(search, searches, found, schedules, bounds)


def conclude(tasks: Iterable[Task], target: Target, log: Journal, schedules: Path) -> TuningReport:
    """Records and model of what is in the journal already.

    Raises ScheduleError if that holds no measurement of ``tasks``.
    """
    cpu = cpus.board(target)
    known = _of_cpu(record_files.check(schedules), cpu)
    search = Search(log, target, trials=0, cpu=cpu)
    searches = [_search(search, t, known) for t in tasks]
    found = _best(searches, known)
    _write(search, found, schedules)
    return _report(search, searches, found, schedules, {})


def points_to_try(
    tasks: Iterable[Task], target: Target, schedules: Path, trials: int
) -> list[tuple[Task, Point]]:
    """What a search would measure before it has learnt anything: at most ``trials`` of each task.

    Those are the rule's schedule, the known record's, and those that the cost model likes; without
    a model, random ones.
    """
    cpu = cpus.board(target)
    known = _of_cpu(record_files.read(schedules), cpu)
    model = _model(schedules, target, cpu)
    with tempfile.TemporaryDirectory() as folder, Journal(Path(folder) / "none", target) as empty:
        search = Search(empty, target, trials, model=model, cpu=cpu)
        searches = [_search(search, t, known) for t in tasks]
        return [(s.task, point) for s in searches for point in s.next(trials)]


def _of_cpu(known: Mapping[str, Record], cpu: str) -> dict[Task, Record]:
    """A record of each task: that of ``cpu``, else another's, whose schedule is a good guess."""
    own = {r.task: r for r in known.values() if r.cpu == cpu}
    return {r.task: r for r in known.values()} | own


def _model(schedules: Path, target: Target, cpu: str) -> CostModel | None:
    """That of ``cpu``, else one of another, which is better than none."""
    found = models.all_beside(schedules, target.hardware)
    return found.get(cpu) or next(iter(found.values()), None)


def _search(search: Search, task: Task, known: Mapping[Task, Record]) -> TaskSearch:
    point = _known_point(known.get(task), search.target)
    if point is None and search.target.schedules:
        point = _known_point(
            _lent(search.target.schedules, search.cpu).get(task),
            targets.load(search.target.schedules),
        )
    return TaskSearch(search, task, point)


@functools.cache
def _lent(target: str, cpu: str) -> dict[Task, Record]:
    """The shipped records of another target, whose schedules are good guesses too."""
    return _of_cpu(record_files.read(record_files.shipped(targets.load(target))), cpu)


def _known_point(record: Record | None, target: Target) -> Point | None:
    """The schedule of a record that is not stale."""
    if record is None or record.point not in families.space(record.task, target.hardware):
        return None
    fresh = families.digest(families.function(record.task, record.point), target) == record.kernel
    return record.point if fresh else None


@contextlib.contextmanager
def _ended_by_ctrl_c(search: Search) -> Iterator[None]:
    """Ctrl-C ends the search after the batch that is running; a second one ends it at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGINT)

    def stop(number: int, frame: object) -> None:
        search.stopped.set()
        signal.signal(signal.SIGINT, before)

    signal.signal(signal.SIGINT, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _write(search: Search, found: Mapping[str, Record], schedules: Path) -> None:
    """The records, and a model that has learnt from enough, and from more than the one there."""
    if found:
        record_files.update(schedules, dict(found))
    path = models.beside(schedules, search.cpu)
    known = models.load(path, search.target.hardware)
    samples = search.samples()
    if len(samples) < _MODEL or len({s.task.work for s in samples}) < _SHAPES:
        return
    if known is None or len(samples) >= known.samples:
        CostModel.fit(samples, search.target.hardware).save(path)


def _report(
    search: Search,
    searches: Iterable[TaskSearch],
    found: Mapping[str, Record],
    schedules: Path,
    bounds: dict[str, float],
) -> TuningReport:
    mine = [t for s in searches for t in s.measured().values()]
    if not found:
        why = "; ".join(sorted({t.error for t in mine if t.error})[:3]) or "no time left"
        raise ScheduleError(f"no schedule could be measured: {why}")
    quality = None
    with contextlib.suppress(ScheduleError):
        quality = models.cross_validate(search.samples(), search.target.hardware)
    failed = sum(t.seconds is None for t in mine)
    return TuningReport(schedules, list(found.values()), len(mine), failed, quality, bounds)


def _bounds(tasks: Mapping[Task, int], target: Target) -> dict[str, float]:
    """Seconds at the roofline of this core; empty where that cannot be measured, as on a GPU."""
    if target.hardware.kind != "llvm":
        return {}
    peaks, _ = roofline.peaks(target.features, 1)
    if peaks is None:
        return {}
    return {
        t.key: bound(
            peaks, macs=t.work.products, op=_OPERATORS[t.work.x.storage], size=features.traffic(t)
        ).seconds
        for t in tasks
    }


def _best(searches: Iterable[TaskSearch], known: Mapping[Task, Record]) -> dict[str, Record]:
    """The best of each search; none where the schedule known before was not measured again."""
    found: dict[str, Record] = {}
    for search in searches:
        best, measured = search.best(), search.measured()
        if best is None or best.seconds is None:
            continue
        if search.known is not None and search.known not in measured:
            continue
        cpu, before = search.search.cpu, known.get(search.task)
        record = Record(
            search.task,
            best.point,
            best.seconds,
            search.rule_seconds(),
            len(measured),
            families.digest(families.function(search.task, best.point), search.search.target),
            before.float_seconds if before and before.cpu == cpu else None,
            cpu,
        )
        found[record.key] = record
    return found
