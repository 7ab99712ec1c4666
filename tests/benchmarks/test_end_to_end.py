"""The table of the comparison, from timings that were not taken."""

import json
from pathlib import Path

import pytest

pytest.importorskip("openvino", reason="the peer needs OpenVINO")

from benchmarks import end_to_end
from benchmarks.timing import Timing

TIMINGS = {
    end_to_end.OURS: Timing(((0.004, 0.003), (0.005,))),
    "openvino": Timing(((0.008, 0.006), (0.010,))),
}


def test_ratios_are_our_time_by_theirs() -> None:
    ours, theirs = end_to_end.rows("birealnet18", TIMINGS)
    assert (ours.ratio_of_medians, ours.ratio_of_minima, ours.runs) == (1.0, 1.0, 3)
    assert (theirs.median_ms, theirs.minimum_ms) == (8.0, 6.0)
    assert theirs.ratio_of_medians == theirs.ratio_of_minima == theirs.ratio_paired == 0.5


def test_table_ends_with_the_bound_of_the_cpu() -> None:
    peaks = {"popcount_zmm": 1544.3968, "fma_zmm": 135.994112}
    lines = end_to_end.table(end_to_end.rows("birealnet18", TIMINGS), peaks).splitlines()
    assert lines[3] == "| birealnet18 | openvino | 8.00 | 6.00 | 0.50 | 0.50 | 0.50 |"
    assert lines[4] == "| birealnet18 | arithmetic at peak rate | | 2.00 | | | |"


def test_results_are_written_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(end_to_end, "RESULTS", tmp_path / "results")
    path = end_to_end.write("mine", "| table |", {"rows": []})
    assert path.read_text() == "| table |\n"
    assert json.loads(path.with_suffix(".json").read_text()) == {"rows": []}
