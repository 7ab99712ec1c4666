import dataclasses
import logging

import numpy as np
import pytest

from bnn_compiler import families
from bnn_compiler import target as targets
from bnn_compiler.cost import records
from bnn_compiler.cost.pick import Schedules
from bnn_compiler.cost.records import Record
from bnn_compiler.errors import ScheduleError
from tests.kernels import kernel

DEVICE = targets.load("x86-64-v3")
TASK = kernel.task(64, 8, 64)
POINT = next(
    p for p in families.space(TASK, DEVICE.hardware) if p.family == "popcount" and p.vectors == 4
)
RECORD = Record(TASK, POINT, 1e-4, 2e-4, 5, families.digest(families.function(TASK, POINT), DEVICE))


LAST = families.space(TASK, DEVICE.hardware)[-1]


def digest(task, point):
    return families.digest(families.function(task, point), DEVICE)


class Known:
    """A model of a few points; others take long."""

    def __init__(self, seconds):
        self.seconds = seconds

    def predict(self, task, points):
        return np.array([self.seconds.get(p, 9.0) for p in points])

    def best(self, task):
        return min(self.seconds, key=self.seconds.get)


class Favourite:
    """A model that always likes one schedule."""

    def best_of_each(self, tasks):
        return [families.space(task, DEVICE.hardware)[-1] for task in tasks]


def test_record_then_model_then_rule():
    rule = Schedules(DEVICE).pick(TASK)
    assert (rule.source, rule.point) == ("rule", families.rule(TASK, DEVICE.hardware))
    model = Schedules(DEVICE, models={"": Favourite()}).pick(TASK)
    assert (model.source, model.point) == ("model", families.space(TASK, DEVICE.hardware)[-1])
    known = Schedules(DEVICE, {RECORD.key: RECORD}, {"": Favourite()})
    assert (known.pick(TASK).source, known.pick(TASK).point) == ("record", POINT)


def test_a_batch_takes_the_record_of_one_image():
    batch = kernel.task(64, 8, 64, batch=3)
    choice = Schedules(DEVICE, {RECORD.key: RECORD}, {"": Favourite()}).pick(batch)
    assert (choice.source, choice.point) == ("record", POINT)
    assert int(choice.function.params[0].ty.shape[0]) == 3
    other = Schedules(DEVICE, {RECORD.key: RECORD}, {"": Favourite()}).pick(
        kernel.task(96, 8, 64, batch=3)
    )
    assert other.source == "model"


def test_a_batch_does_not_take_a_tile_with_gaps():
    batch = kernel.task(64, 8, 64, batch=3)
    narrow = next(p for p in families.space(TASK, DEVICE.hardware) if p.vectors == 2)
    known = {
        TASK.key: Record(
            TASK, narrow, 1e-4, 2e-4, 5, families.digest(families.function(TASK, narrow), DEVICE)
        )
    }
    assert Schedules(DEVICE, known, {"": Favourite()}).pick(TASK).source == "record"
    assert Schedules(DEVICE, known, {"": Favourite()}).pick(batch).source == "model"
    assert Schedules(DEVICE, known).pick(batch).source == "record"


def test_a_record_tells_what_float32_would_take():
    record = dataclasses.replace(RECORD, float_seconds=0.5e-4)
    choice = Schedules(DEVICE, {TASK.key: record}).pick(TASK)
    assert (choice.seconds, choice.float_seconds) == (1e-4, 0.5e-4)


def test_stale_records_are_refused_once_aloud_and_counted(caplog):
    stale = {
        t.key: dataclasses.replace(RECORD, task=t, kernel="0" * 16)
        for t in (TASK, kernel.task(96, 8, 96))
    }
    schedules = Schedules(DEVICE, stale)
    with caplog.at_level(logging.WARNING):
        for record in stale.values():
            assert schedules.pick(record.task).source == "rule"
    assert schedules.stale == 2
    assert sum("stale" in r.message for r in caplog.records) == 1


def test_a_users_file_goes_first(tmp_path):
    path = tmp_path / "mine.jsonl"
    records.write(path, {RECORD.key: RECORD})
    assert Schedules.load(DEVICE, path).pick(TASK).point == POINT
    shipped = next(iter(records.read(records.shipped(DEVICE)).values()))
    stale = dataclasses.replace(shipped, kernel="0" * 16)
    records.write(path, {stale.key: stale})
    schedules = Schedules.load(DEVICE, path)
    assert schedules.pick(shipped.task).source == "record" and schedules.stale == 0
    with pytest.raises(ScheduleError, match="no schedule records"):
        Schedules.load(DEVICE, tmp_path / "none.jsonl")


def test_a_record_of_this_cpu_goes_before_those_of_others():
    slow = dataclasses.replace(RECORD, point=LAST, kernel=digest(TASK, LAST), cpu="other")
    mine = dataclasses.replace(RECORD, seconds=1.0, cpu="mine")
    both = {r.key: r for r in (slow, mine)}
    assert Schedules(DEVICE, {}, {}, both, "mine").pick(TASK).point == POINT
    choice = Schedules(DEVICE, {}, {}, both, "other").pick(TASK)
    assert (choice.point, choice.source, choice.cpu) == (LAST, "record", "other")
    # One that does not say where it was measured is believed, the user's before the shipped one.
    unknown = dataclasses.replace(RECORD, point=LAST, kernel=digest(TASK, LAST))
    assert Schedules(DEVICE, {"": unknown}, {}, both, "mine").pick(TASK).point == LAST


def test_another_cpus_record_is_weighed():
    other = dataclasses.replace(RECORD, cpu="other")
    alone = Schedules(DEVICE, {}, {}, {other.key: other}, "mine").pick(TASK)
    assert (alone.source, alone.point, alone.cpu) == ("record", POINT, "other")
    liked = Schedules(DEVICE, {}, {"mine": Known({LAST: 1.0, POINT: 2.0})}, {"": other}, "mine")
    assert (liked.pick(TASK).source, liked.pick(TASK).point) == ("model", LAST)
    hardly = Schedules(DEVICE, {}, {"mine": Known({LAST: 1.0, POINT: 1.03})}, {"": other}, "mine")
    assert (hardly.pick(TASK).source, hardly.pick(TASK).point) == ("record", POINT)


def test_where_the_rule_loses_little_it_goes_before_other_cpus():
    def records_of_mine(loss):
        tasks = [kernel.task(64 + 32 * i, 8, 64) for i in range(1, 5)]
        made = [dataclasses.replace(RECORD, task=t, cpu="mine") for t in tasks]
        return {r.key: dataclasses.replace(r, rule_seconds=r.seconds * (1 + loss)) for r in made}

    other = dataclasses.replace(RECORD, cpu="other")
    unseen = kernel.task(256, 8, 64)
    for loss, sources in ((0.02, ("rule", "rule")), (0.2, ("record", "model"))):
        known = {**records_of_mine(loss), other.key: other}
        schedules = Schedules(DEVICE, {}, {"other": Favourite()}, known, "mine")
        assert tuple(schedules.pick(t).source for t in (TASK, unseen)) == sources


def test_on_an_unknown_cpu_all_that_are_known_count():
    """What one measured as best, unless another one's model says that it is bad there."""
    one = dataclasses.replace(RECORD, cpu="one")
    two = dataclasses.replace(RECORD, point=LAST, kernel=digest(TASK, LAST), cpu="two")
    both = {r.key: r for r in (one, two)}
    bad_there = {"one": Known({POINT: 1.0, LAST: 3.0}), "two": Known({POINT: 1.1, LAST: 1.0})}
    assert Schedules(DEVICE, {}, bad_there, both, "new").pick(TASK).point == POINT
    bad_here = {"one": Known({POINT: 1.0, LAST: 1.1}), "two": Known({POINT: 3.0, LAST: 1.0})}
    assert Schedules(DEVICE, {}, bad_here, both, "new").pick(TASK).point == LAST


def test_a_target_without_records_has_those_that_it_names():
    lender, device = targets.load("x86-avx512-vpopcnt"), targets.load("x86-amx")
    own = Schedules.load(lender, cpu="sapphirerapids")
    lent = Schedules.load(device, cpu="sapphirerapids")
    found = [r for r in records.read(records.shipped(lender)).values() if r.cpu == own.cpu]
    signs = [r for r in found if r.task.work.is_binary]
    assert len(signs) >= 8
    for record in signs:
        chosen = lent.pick(record.task)
        assert chosen == own.pick(record.task) and chosen.source == "record"
    # A record of its own goes first, and models know no schedule that they have not learnt.
    task = signs[0].task
    tiles = next(p for p in families.space(task, device.hardware) if p.family == "amx")
    kernel_of_tiles = families.digest(families.function(task, tiles), device)
    mine = Record(task, tiles, 1.0, None, 1, kernel_of_tiles, cpu=own.cpu)
    tuned = Schedules(device, {mine.key: mine}, lent.models, lent.shipped, own.cpu, lender=lender)
    assert tuned.pick(task).point == mine.point
    other = Schedules.load(device, cpu="znver4").pick(kernel.task(96, 9, 80))
    assert (other.source, other.point.family) == ("model", "popcount")


def test_shipped_schedules_of_two_cpus():
    device = targets.load("x86-avx512-vpopcnt")
    zen, xeon = (Schedules.load(device, cpu=c) for c in ("znver4", "sapphirerapids"))
    tasks = [r.task for r in records.read(records.shipped(device)).values()]
    mine = [r.task for r in records.read(records.shipped(device)).values() if r.cpu != "znver4"]
    assert {zen.pick(t).cpu for t in tasks} == {"znver4"}
    assert {xeon.pick(t).cpu for t in mine} == {"sapphirerapids"}
    assert {xeon.pick(t).source for t in set(tasks) - set(mine)} <= {"rule", "fixed", "record"}
