import json

import pytest

from bnn_compiler import target as targets
from bnn_compiler.errors import ScheduleError
from bnn_compiler.latency import journal
from bnn_compiler.latency.journal import Journal
from tests.latency import machine


def test_a_killed_calibration_goes_on(tmp_path):
    path = tmp_path / "j.jsonl"
    first, second = machine.samples(2)
    with Journal(path, machine.TARGET, "CPU") as lines:
        lines.add(first)
        lines.add(second)
    # Killed while it wrote the second line.
    whole = path.read_bytes()
    cut = whole.index(b"\n") + 200
    path.write_bytes(whole[:cut])
    with Journal(path, machine.TARGET, "CPU") as lines:
        assert lines.samples == [first]
        lines.add(second)
    with Journal(path, machine.TARGET, "CPU") as lines:
        assert lines.samples == [first, second] and lines.others == 0
    assert path.read_bytes() == whole


def test_lines_of_other_machines_and_other_code_stay_and_do_not_count(tmp_path, monkeypatch):
    path = tmp_path / "j.jsonl"
    one = machine.samples(1)[0]
    for target, cpu in (
        (machine.TARGET, "CPU"),
        (machine.TARGET, "another"),
        (targets.load("x86-64-v4"), "CPU"),
    ):
        with Journal(path, target, cpu) as lines:
            lines.add(one)
    with Journal(path, machine.TARGET, "CPU") as lines:
        assert len(lines.samples) == 1 and lines.others == 2
    monkeypatch.setattr(journal, "code", lambda: "older")
    with Journal(path, machine.TARGET, "CPU") as lines:
        assert not lines.samples and lines.others == 3
    assert len(path.read_bytes().splitlines()) == 3


def test_one_process_at_a_time(tmp_path):
    with (
        Journal(tmp_path / "j", machine.TARGET, "CPU"),
        pytest.raises(ScheduleError, match="another process is calibrating"),
    ):
        Journal(tmp_path / "j", machine.TARGET, "CPU")


@pytest.mark.parametrize(
    "text", ["a letter\n", '{"a": 1}\n', "a letter", '{"code": 1, "device": 2']
)
def test_another_file_is_refused_and_kept(tmp_path, text):
    path = tmp_path / "j"
    path.write_text(text)
    if text.startswith('{"code"'):
        # The beginning of a line of ours: cut short.
        Journal(path, machine.TARGET, "CPU").close()
        assert path.read_text() == ""
        return
    with pytest.raises(ScheduleError, match=r"timed program"):
        Journal(path, machine.TARGET, "CPU")
    assert path.read_text() == text
    # And it is not held any more.
    path.write_text("")
    Journal(path, machine.TARGET, "CPU").close()


def test_a_folder_is_no_journal(tmp_path):
    with pytest.raises(ScheduleError, match="cannot write the journal"):
        Journal(tmp_path, machine.TARGET, "CPU")


def test_a_damaged_line_is_named(tmp_path):
    path = tmp_path / "j"
    with Journal(path, machine.TARGET, "CPU") as lines:
        lines.add(machine.samples(1)[0])
    data = json.loads(path.read_text())
    data["sample"]["steps"] = []
    path.write_text(path.read_text() + json.dumps(data) + "\n")
    with pytest.raises(ScheduleError, match="j:2 is not a timed program"):
        Journal(path, machine.TARGET, "CPU")
