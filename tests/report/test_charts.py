import math
from dataclasses import replace
from xml.etree import ElementTree

import pytest

from bnn_compiler.report import charts


def marks(svg, element, kind):
    found = ElementTree.fromstring(svg).iter(element)
    return [e for e in found if kind in e.get("class", "").split()]


def test_a_dot_for_each_layer_with_arithmetic(report):
    svg = charts.roofline(report)
    dots = marks(svg, "circle", "dot")
    assert [d.get("class") for d in dots] == ["dot fma", "dot popcount"]
    assert "<conv & sign>" in dots[1].find("title").text
    assert "40 % of its roofline" in dots[1].find("title").text


def test_a_dot_at_half_of_its_roofline_is_that_far_below_the_line(report):
    svg = charts.roofline(report)
    (stem,) = marks(svg, "circle", "fma")
    (line,) = marks(svg, "line", "line-fma")
    (top,) = marks(svg, "line", "line-popcount")
    y = {name: float(e.get("y1")) for name, e in (("fma", line), ("popcount", top))}
    decade = (y["fma"] - y["popcount"]) / math.log10(1000 / 50)
    assert float(stem.get("cy")) - y["fma"] == pytest.approx(decade * math.log10(2), rel=1e-3)
    slopes = [e for e in marks(svg, "line", "peak") if e.get("class") == "peak"]
    assert len(slopes) == len(report.peaks.levels)


def test_bars_are_solid_up_to_the_bound(report):
    svg = charts.bars(report)
    for kind, percent in (("fma", 50), ("popcount", 40), ("memory", 50)):
        whole, solid = (float(e.get("width")) for e in marks(svg, "rect", kind))
        assert 100 * solid / whole == pytest.approx(percent, rel=1e-3)


def test_without_peaks(without_peaks):
    assert charts.roofline(without_peaks) == ""
    svg = charts.bars(without_peaks)
    assert len(marks(svg, "rect", "pale")) == 3 and not marks(svg, "rect", "fma")


def test_extremes(report):
    nothing = replace(report.layers[0], seconds=0.0)
    for layers in ([], [nothing], [replace(report.layers[0], bytes_read=0, bytes_written=0)]):
        assert charts.roofline(replace(report, layers=layers)) == ""
        ElementTree.fromstring(charts.bars(replace(report, layers=layers)))
    long = replace(report.layers[0], name="layer" * 40)
    assert "…" in charts.bars(replace(report, layers=[long]))
