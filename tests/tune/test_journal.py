import json

import pytest

from bnn_compiler import target as targets
from bnn_compiler.errors import ScheduleError
from bnn_compiler.kernels.cpu.popcount import PopcountPoint
from bnn_compiler.tune import journal
from bnn_compiler.tune.journal import Journal, Trial
from tests.kernels import kernel

DEVICE = targets.load("x86-64-v3")

TASK = kernel.task(64, 8, 64)


def trial(pixels=4, seconds=1e-4):
    return Trial(TASK, PopcountPoint(pixels, 2, 32), seconds)


def test_resumes_after_a_kill(tmp_path):
    path = tmp_path / "t.jsonl"
    with Journal(path, DEVICE) as log:
        log.add(trial(2))
        log.add(Trial(TASK, PopcountPoint(8, 2, 32), None, "crashed"))
    with path.open("ab") as file:
        file.write(b'{"code": "cut sho')
    with Journal(path, DEVICE) as log:
        assert [t.point.pixels for t in log.trials] == [2, 8]
        assert log.trials[1].error == "crashed"
        log.add(trial(1))
    with Journal(path, DEVICE) as log:
        assert len(list(log.of(TASK))) == 3


def test_trials_of_other_code_do_not_count(tmp_path, monkeypatch):
    path = tmp_path / "t.jsonl"
    with Journal(path, DEVICE) as log:
        log.add(trial())
    monkeypatch.setattr(journal, "code", lambda: "other")
    with Journal(path, DEVICE) as log:
        assert log.trials == [] and log.others == 1


def test_one_process_at_a_time(tmp_path):
    with (
        Journal(tmp_path / "t.jsonl", DEVICE),
        pytest.raises(ScheduleError, match="another process is tuning"),
    ):
        Journal(tmp_path / "t.jsonl", DEVICE)


def test_trials_of_another_target_do_not_count(tmp_path):
    path = tmp_path / "t.jsonl"
    with Journal(path, DEVICE) as log:
        log.add(trial())
    with Journal(path, targets.load("x86-64-v4")) as log:
        assert log.trials == [] and log.others == 1


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("seconds", "fast"),
        ("seconds", -1.0),
        ("point", {"family": "foo"}),
        ("point", {"word": "x"}),
    ],
)
def test_a_damaged_trial_is_named(tmp_path, key, value):
    path = tmp_path / "t.jsonl"
    with Journal(path, DEVICE) as log:
        log.add(trial())
    data = json.loads(path.read_text())
    data[key] = {**data[key], **value} if isinstance(value, dict) else value
    path.write_text(json.dumps(data) + "\n")
    with pytest.raises(ScheduleError, match=r"t\.jsonl:1 is not a trial"):
        Journal(path, DEVICE)


@pytest.mark.parametrize("text", ["my notes", "my notes\n", '{"task": 1}\n{"task": 2}\n'])
def test_other_files_are_left_as_they_are(tmp_path, text):
    path = tmp_path / "notes.txt"
    path.write_text(text)
    with pytest.raises(ScheduleError, match=r"notes\.txt"):
        Journal(path, DEVICE)
    assert path.read_text() == text
