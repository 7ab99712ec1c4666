import dataclasses
import json

import pytest

from bnn_compiler.report import COLUMNS


def cells(report, column):
    return [row[COLUMNS.index(column)] for row in report.rows()]


def test_rows(report):
    assert cells(report, "bound") == ["fma", "popcount", "memory DRAM"]
    assert cells(report, "roofline") == ["50 %", "40 %", "50 %"]
    assert cells(report, "GMAC/s") == ["25", "400", ""]
    assert cells(report, "kB") == ["8", "1", "100"]


def test_rows_without_peaks(without_peaks):
    assert cells(without_peaks, "bound") == cells(without_peaks, "roofline") == ["", "", ""]
    assert cells(without_peaks, "us") == ["40.0", "5.0", "10.0"]


def test_summary(report, without_peaks):
    total, peaks = report.summary()
    assert total == "total 0.055 ms; roofline 0.027 ms (49 %)"
    assert peaks == (
        "peaks of 1 core: popcount 1000 GMAC/s, fma 50 GMAC/s, L1 200 GB/s, DRAM 20 GB/s"
    )
    assert without_peaks.summary() == ["total 0.055 ms", "no rooflines: no C compiler"]


def test_layers_that_float32_would_make_faster_are_named(without_peaks):
    first, *rest = without_peaks.layers
    told = [dataclasses.replace(first, float_ratio=0.5), *rest]
    (line,) = dataclasses.replace(without_peaks, layers=told).summary()[2:]
    assert line.startswith("stem would take 0.50 of its time in float32")
    slower = [dataclasses.replace(first, float_ratio=1.5), *rest]
    assert len(dataclasses.replace(without_peaks, layers=slower).summary()) == 2


def test_as_dict_is_json(report, without_peaks):
    found = json.loads(json.dumps(report.as_dict()))
    assert found["layers"][1]["bytes"] == 1000
    assert found["layers"][1]["bound"] == {
        "seconds": pytest.approx(2e-6),
        "kind": "popcount",
        "level": "L1",
    }
    assert found["layers"][2]["percent_of_roofline"] == pytest.approx(50)
    assert found["peaks"]["levels"][-1]["bytes"] is None
    found = json.loads(json.dumps(without_peaks.as_dict()))
    assert found["peaks"] is found["bound_seconds"] is found["layers"][0]["bound"] is None
    assert found["why_no_peaks"] == "no C compiler"
