import dataclasses
import logging

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


class Favourite:
    """A model that always likes one schedule."""

    def best_of_each(self, tasks):
        return [families.space(task, DEVICE.hardware)[-1] for task in tasks]


def test_record_then_model_then_rule():
    rule = Schedules(DEVICE).pick(TASK)
    assert (rule.source, rule.point) == ("rule", families.rule(TASK, DEVICE.hardware))
    model = Schedules(DEVICE, model=Favourite()).pick(TASK)
    assert (model.source, model.point) == ("model", families.space(TASK, DEVICE.hardware)[-1])
    known = Schedules(DEVICE, {TASK.key: RECORD}, Favourite())
    assert (known.pick(TASK).source, known.pick(TASK).point) == ("record", POINT)


def test_a_batch_takes_the_record_of_one_image():
    batch = kernel.task(64, 8, 64, batch=3)
    choice = Schedules(DEVICE, {TASK.key: RECORD}, Favourite()).pick(batch)
    assert (choice.source, choice.point) == ("record", POINT)
    assert int(choice.function.params[0].ty.shape[0]) == 3
    other = Schedules(DEVICE, {TASK.key: RECORD}, Favourite()).pick(kernel.task(96, 8, 64, batch=3))
    assert other.source == "model"


def test_a_batch_does_not_take_a_tile_with_gaps():
    batch = kernel.task(64, 8, 64, batch=3)
    narrow = next(p for p in families.space(TASK, DEVICE.hardware) if p.vectors == 2)
    known = {
        TASK.key: Record(
            TASK, narrow, 1e-4, 2e-4, 5, families.digest(families.function(TASK, narrow), DEVICE)
        )
    }
    assert Schedules(DEVICE, known, Favourite()).pick(TASK).source == "record"
    assert Schedules(DEVICE, known, Favourite()).pick(batch).source == "model"
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
    records.write(path, {TASK.key: RECORD})
    assert Schedules.load(DEVICE, path).pick(TASK).point == POINT
    shipped = next(iter(records.read(records.shipped(DEVICE)).values()))
    stale = dataclasses.replace(shipped, kernel="0" * 16)
    records.write(path, {shipped.task.key: stale})
    schedules = Schedules.load(DEVICE, path)
    assert schedules.pick(shipped.task).source == "record" and schedules.stale == 0
    with pytest.raises(ScheduleError, match="no schedule records"):
        Schedules.load(DEVICE, tmp_path / "none.jsonl")
