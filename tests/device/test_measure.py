import pytest

from bnn_compiler.device import measure
from bnn_compiler.device.measure import Here, Plan, run_here
from bnn_compiler.errors import DeviceError
from bnn_compiler.tune import harness
from tests.device import programs


def test_programs_time_themselves_and_agree(every_target, tmp_path):
    one, two = (programs.built(every_target[-1], tmp_path, n) for n in (0, 9))
    found = {}
    Here().measure([one, two], Plan(repeats=3), found.__setitem__)
    assert len(found[0].found.seconds) == 3 and min(found[0].found.seconds) > 0
    assert found[0].found.name == harness.name_of(programs.TASK)
    assert found[0].found.digest == found[1].found.digest
    assert measure.fastest(one) > 0


def test_constants_of_another_program_are_noticed(every_target, tmp_path):
    one = programs.built(every_target[-1], tmp_path)
    whole = one.constants.read_bytes()
    one.constants.write_bytes(whole[:-1])
    assert run_here(one).error == "the file of constants is too short"
    one.constants.write_bytes(whole + b"x")
    assert run_here(one).error == "the file of constants is of another program"
    one.constants.write_bytes(bytes([whole[0] ^ 1]) + whole[1:])
    changed = run_here(one).found.digest
    one.constants.write_bytes(whole)
    assert changed != run_here(one).found.digest


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("kill -SEGV $$", "crashed: SIGSEGV"),
        ("kill -ILL $$", "crashed: SIGILL"),
        ("exit 3", "exit code 3"),
        ("echo out of memory; exit 1", "out of memory"),
        ("echo nonsense", "printed no measurement: nonsense"),
        ("""echo '{"name": "x", "seconds": [], "digest": "0"}'""", "measured no time"),
        ("""echo '{"name": "x", "seconds": [0], "digest": "0"}'""", "measured no time"),
    ],
)
def test_failures_are_told(tmp_path, text, error):
    outcome = run_here(programs.script(tmp_path, "bad", text))
    assert outcome.found is None and outcome.error.startswith(error)


def test_a_hanging_program_ends(every_target, tmp_path, monkeypatch):
    one = programs.script(tmp_path, "hangs", "kill -ALRM $$")
    assert run_here(one).error == "took too long and was stopped"
    monkeypatch.setattr(measure, "_GRACE", 0)
    one = programs.script(tmp_path, "sleeps", "exec sleep 60")
    assert run_here(one, Plan(limit=1)).error == "took too long and was stopped"


def test_what_cannot_run_is_no_candidates_fault(tmp_path):
    one = programs.script(tmp_path, "bad", "true")
    one.path.write_bytes(b"\x7fELF")
    with pytest.raises(DeviceError, match=r"cannot run programs of this target: .*format"):
        run_here(one)
