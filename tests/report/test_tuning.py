"""The table of a tuning run."""

from dataclasses import replace
from pathlib import Path

from bnn_compiler import target as targets
from bnn_compiler.cost.pick import Schedules
from bnn_compiler.report import tuning
from bnn_compiler.tune.outcome import TuningReport


def test_kernels_alone_and_inside_the_network():
    shipped = Schedules.load(targets.load("x86-64-v3"), cpu="").shipped
    first, second = (replace(r, seconds=1e-4) for r in list(shipped.values())[:2])
    alone = TuningReport(Path("x"), [first, second], 3, 0, None, {})
    assert [row[4] for row in tuning.rows(alone)] == ["", ""]
    assert len(tuning.summary(alone)) == 1
    both = replace(alone, inside={first.task.key: 1.1e-4})
    assert [row[4] for row in tuning.rows(both)] == ["110.0", ""]
    assert len(tuning.rows(both)[0]) == len(tuning.COLUMNS)
    assert "alone these kernels take 0.100 ms" in tuning.summary(both)[1]
    assert "network 0.110, 1.10 times" in tuning.summary(both)[1]
    assert tuning.as_dict(both)["inside_seconds"] == [1.1e-4, None]
