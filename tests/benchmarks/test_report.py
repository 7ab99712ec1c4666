"""The table of a comparison, from timings that were not taken."""

import json
from pathlib import Path

import pytest

from benchmarks import machine, report
from benchmarks.timing import Timing

TIMINGS = {
    report.OURS: Timing(((0.004, 0.003), (0.005,))),
    "openvino": Timing(((0.008, 0.006), (0.010,))),
}


def test_ratios_are_our_time_by_theirs() -> None:
    ours, theirs = report.rows("birealnet18", TIMINGS)
    assert (ours.ratio_of_medians, ours.ratio_of_minima, ours.runs) == (1.0, 1.0, 3)
    assert (theirs.median_ms, theirs.minimum_ms) == (8.0, 6.0)
    assert theirs.ratio_of_medians == theirs.ratio_of_minima == theirs.ratio_paired == 0.5


def test_table_ends_with_the_bound_of_the_cpu() -> None:
    lines = report.table(report.rows("birealnet18", TIMINGS), {"birealnet18": 2.0}).splitlines()
    assert lines[3] == "| birealnet18 | openvino | 8.00 | 6.00 | 0.50 | 0.50 | 0.50 |"
    assert lines[4] == "| birealnet18 | arithmetic at peak rate | | 2.00 | | | |"


def test_small_ratios_keep_two_digits() -> None:
    timings = {report.OURS: Timing(((0.0025,),)), "slow": Timing(((1.0,),))}
    lines = report.table(report.rows("birealnet18", timings), {}).splitlines()
    assert lines[3].endswith("| 0.0025 | 0.0025 | 0.0025 |")


def test_results_are_written_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "RESULTS", tmp_path / "results")
    load = machine.Load(average=0.5, others=0.25, stolen=0.0)
    setting = report.Setting(machine.describe(), core=1, load=load)
    path = report.write("mine", "| table |", setting, rows=[])
    assert path.read_text().startswith("| table |\n\n")
    assert "other processes 0.25 cores" in path.read_text()
    record = json.loads(path.with_suffix(".json").read_text())
    assert (record["rows"], record["core"], record["load"]["others"]) == ([], 1, 0.25)


def test_what_is_no_number_is_null() -> None:
    nan = float("nan")
    text = report.as_json([{"loop": nan, "also": (1.5, -float("inf"), "NaN", 2)}], indent=1)
    assert json.loads(text, parse_constant=_no_number) == [
        {"loop": None, "also": [1.5, None, "NaN", 2]}
    ]


@pytest.mark.parametrize("path", sorted(report.RESULTS.glob("*.json")), ids=lambda p: p.name)
def test_committed_results_are_strict_json(path: Path) -> None:
    assert json.loads(path.read_text(), parse_constant=_no_number)


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is not JSON")
