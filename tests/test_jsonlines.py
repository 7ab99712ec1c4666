"""A file of JSON lines: what is there is read, a torn end is cut, others wait."""

import errno
import json
import os

import pytest

from bnn_compiler.errors import ScheduleError
from bnn_compiler.jsonlines import JsonLines


def opened(path):
    return JsonLines(path, "trial", "tuning", "code")


def read(path):
    found = []
    with opened(path) as lines:
        lines.read(found.append)
    return found


def test_lines_are_there_again(tmp_path):
    path = tmp_path / "deep" / "j"
    with opened(path) as lines:
        for number in range(3):
            lines.add({"code": number})
            assert len(path.read_bytes().splitlines()) == number + 1, "on disk at once"
    assert read(path) == [{"code": n} for n in range(3)]


@pytest.mark.parametrize("torn", ['{"code": 3, "se', '{"co', "{"])
def test_a_torn_end_is_cut(tmp_path, torn):
    path = tmp_path / "j"
    for before in ("", '{"code": 1}\n'):
        path.write_text(before + torn)
        with opened(path) as lines:
            lines.add({"code": 2})
        assert path.read_text() == before + '{"code": 2}\n'


def test_another_file_stays_as_it_is(tmp_path):
    path = tmp_path / "j"
    path.write_text("dear diary")
    with pytest.raises(ScheduleError, match="is not a journal of trials"):
        opened(path)
    assert path.read_text() == "dear diary"
    path.write_text('{"code": 1}\nnonsense\n')
    with pytest.raises(ScheduleError, match=r"j:2 is not a trial; is it another file"):
        read(path)
    # Nothing is held after an error.
    path.write_text(json.dumps({"code": 1}) + "\n")
    assert read(path) == [{"code": 1}]


def test_one_process_at_a_time(tmp_path):
    with opened(tmp_path / "j"), pytest.raises(ScheduleError, match="another process is tuning"):
        opened(tmp_path / "j")
    assert read(tmp_path / "j") == []


def test_where_nothing_can_be_written(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    with pytest.raises(ScheduleError, match="cannot write the journal"):
        opened(tmp_path / "file" / "j")

    def full(number):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with opened(tmp_path / "k") as lines, pytest.raises(ScheduleError, match="No space left"):
        lines.add({"code": 1})
