import re

from bnn_compiler.search.live import Live, duration, words
from bnn_compiler.search.loop import Progress


def test_words():
    assert words(Progress(0, 20, 0, 0, None, None, None)) == "0 candidates"
    assert words(Progress(3, 20, 150, 2, 0.6149, 0.984, 754.0)) == (
        "150 candidates, best 61.5% at 98% of the budget, 2 lost, 13 min left"
    )


def test_durations():
    assert [duration(s) for s in (4.4, 89, 600, 12600)] == ["4 s", "89 s", "10 min", "3.5 h"]


def test_lines_where_there_is_no_terminal(capsys):
    with Live() as live:
        live.stage("supernet, epochs", 0, 3)
        live.stage("supernet, epochs", 0, 3)
        live.stage("supernet, epochs", 1, 3)
        live.stage("supernet, epochs", 3, 3)
        live.search(Progress(1, 2, 10, 0, 0.5, 0.9, 5.0))
        live.candidates(3, 10)
        live.say("measured [2.4 ms]")
    out, err = capsys.readouterr()
    assert not out
    assert err.splitlines() == [
        "supernet, epochs: 0 of 3",
        "supernet, epochs: 3 of 3",
        "generation 1 of 2: 10 candidates, best 50.0% at 90% of the budget, 5 s left",
        "measured [2.4 ms]",
    ]


def test_bars_on_a_terminal(monkeypatch, capsys):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    with Live() as live:
        live.search(Progress(1, 2, 10, 0, 0.5, 0.9, 5.0))
        live.say("measured [2.4 ms]")
    err = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", capsys.readouterr().err)
    assert "best 50.0% at 90% of the budget" in err and "measured [2.4 ms]" in err


def test_quiet_is_quiet(capsys):
    with Live(quiet=True) as live:
        live.search(Progress(1, 2, 10, 0, 0.5, 0.9, 5.0))
        live.say("measured")
        live.stage("x", 0, 1)
    assert capsys.readouterr() == ("", "")
