import json

import pytest

from bnn_compiler import families
from bnn_compiler import target as targets
from bnn_compiler.cost import records
from bnn_compiler.cost.records import Record
from bnn_compiler.errors import ScheduleError
from bnn_compiler.kernels.cpu.popcount import PopcountPoint
from bnn_compiler.kernels.task import Task
from bnn_compiler.tune.journal import Journal
from tests.kernels import kernel

DEVICE = targets.load("x86-64-v3")

POINT = PopcountPoint(4, 2, 32)


def record(channels=64):
    return Record(kernel.task(channels, 8, 64), POINT, 1e-4, 2e-4, 5, "0" * 16)


def test_task_and_record_survive_json():
    one = record()
    assert Task.from_dict(json.loads(json.dumps(one.task.as_dict()))) == one.task
    assert Record.from_dict(json.loads(json.dumps(one.as_dict()))) == one


def test_file(tmp_path):
    path = tmp_path / "deep" / "mine.jsonl"
    both = {r.key: r for r in (record(64), record(128))}
    records.write(path, both)
    assert records.read(path) == both
    assert len(path.read_text().splitlines()) == 2
    assert [p.name for p in path.parent.iterdir()] == ["mine.jsonl"], "a partial file was left"
    assert records.read(tmp_path / "none.jsonl") == {}


def test_bad_files_are_named(tmp_path):
    path = tmp_path / "bad.jsonl"
    path.write_text('{"task": 1}\n')
    with pytest.raises(ScheduleError, match=r"bad.jsonl:1 is not a schedule record"):
        records.read(path)
    for key, value in (("seconds", 0.0), ("float_seconds", "x"), ("point", {"pixels": 4.0})):
        data = record().as_dict()
        data[key] = {**data[key], **value} if isinstance(value, dict) else value
        path.write_text(json.dumps(data) + "\n")
        with pytest.raises(ScheduleError, match=r"bad.jsonl:1 is not a schedule record"):
            records.read(path)
    path.write_text("[" * 100_000)
    with pytest.raises(ScheduleError, match=r"bad.jsonl:1 is not a schedule record"):
        records.read(path)
    with pytest.raises(ScheduleError, match="no schedule records"):
        records.existing(tmp_path / "none.jsonl")


def test_unwritable_places_are_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ScheduleError, match=r"cannot write .*x.jsonl"):
        records.write(tmp_path / "file" / "x.jsonl", {record().key: record()})
    with pytest.raises(ScheduleError, match="cannot write the journal"):
        Journal(tmp_path / "file" / "x.jsonl", DEVICE)


def test_digest_tells_schedules_apart():
    one = kernel.task(64, 8, 64)
    same, other = families.function(one, POINT), families.function(one, PopcountPoint(8, 2, 32))
    again = families.function(one, POINT)
    first, second, third = (families.digest(f, DEVICE) for f in (same, again, other))
    assert first == second != third
