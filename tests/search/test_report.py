import json
import re

import pytest

from bnn_compiler.search import page
from bnn_compiler.search.accuracy import Here
from bnn_compiler.search.charts import Axis, Dot, curves, kept, scatter
from bnn_compiler.search.checkpoint import Checkpoint, Trained
from bnn_compiler.search.evolution import Evolution, Settings
from bnn_compiler.search.report import SearchReport, Shipped
from bnn_compiler.search.run import Ending, Parts, search
from tests.report.test_charts import marks
from tests.report.test_html import Elements
from tests.search import toy

TIME = toy.seconds(toy.FULL)
SETTINGS = Settings.of(8, 3)


def train(plans, seeds, stage):
    return [
        Trained(dict(p), stage, s, toy.accuracy(p, s), toy.accuracy(p, s) - 0.01)
        for p, s in zip(plans, seeds, strict=True)
    ]


def choose(plans, keep, train):
    found = train(plans, [5] * len(plans), "halving 1")
    return [t.plan for t in sorted(found, key=lambda t: -t.validation)]


def found(folder, *, slowness=1.3, seeds=3, full=True, prices=None, shipped=None):
    shipped = shipped or artifacts()
    result = search(
        prices or toy.prices(0.4 * TIME, 0.9 * toy.size(toy.FULL)),
        Parts(
            Evolution(SETTINGS, 0),
            Here(toy.clumsy),
            (lambda p: slowness * toy.seconds(p)) if full else None,
            choose if full else None,
            train if full else None,
        ),
        SETTINGS,
        0,
        checkpoint=Checkpoint(folder, {}),
        ending=Ending(finalists=4, again=1, seeds=seeds),
    )
    return SearchReport("<net & co>", "x86-64-v4", "a CPU", 0, result, shipped if full else ())


def artifacts(searched=0.39 * TIME, uniform=0.4 * TIME):
    return (
        Shipped("searched", "network.bnn", 1000, searched, 0.91, 500),
        Shipped("uniform", "uniform.bnn", 900, uniform, 0.9, 500),
    )


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    return found(tmp_path_factory.mktemp("search"))


def test_the_page_is_one_file(report, tmp_path):
    page.write(report, tmp_path)
    markup = (tmp_path / "report.html").read_text()
    names = Elements(markup).names
    # Channels, two costs, times, history, trust.
    assert names.count("svg") == 6
    assert not {"script", "link", "img"} & set(names)
    assert "url(" not in markup and "@import" not in markup
    assert "&lt;net &amp; co&gt;" in markup and "<net" not in markup


def test_json_has_every_number(report, tmp_path):
    page.write(report, tmp_path)
    data = json.loads((tmp_path / "report.json").read_text())
    assert data["plan"] == report.result.winner
    assert [p["name"] for p in data["plans"]] == ["searched", "uniform", "full network"]
    assert len(data["plans"][0]["test"]) == 3 and data["plans"][2]["test"] == []
    assert data["plans"][2]["costs"][0] == pytest.approx(TIME * report.correction)
    assert sum(map(len, data["candidates"])) == len(report.result.state.history)
    costs = [c["costs"][0] for c in data["front"]]
    assert costs == sorted(costs) and max(costs) <= 0.4 * TIME


def test_the_summary_says_what_matters(report):
    text = "\n".join(report.summary())
    assert "budget 2.3654400000000002e-05s and" in text
    assert "3 seeds" in text and "points better on the mean and takes 2.5% less time." in text
    assert "2.5% below the budget" in text
    assert "took 1.300 of the predicted time" in text
    assert "candidates lost: out of memory" in text
    assert "Rank correlation of inherited and trained" in text
    assert "few seeds" not in text


def test_the_page_opens_with_the_comparison(report):
    markup = page.page(report)
    first, second = re.findall("<h2>(.*?)</h2>", markup)[:2]
    assert first == "Searched against uniform at equal measured time (within 2.6%)"
    assert second == "What was compared"
    row = re.search(r"<tr><td[^>]*>searched \(shipped\)</td>.*?</tr>", markup)[0]
    assert "91.0% of 500" in row and "network.bnn" in row and "3 seeds" in row
    assert "uniform.bnn" in markup


def test_few_seeds_and_a_late_artifact_are_said(tmp_path):
    text = "\n".join(found(tmp_path / "a", seeds=1).summary())
    assert "So few seeds say little" in text
    late = found(tmp_path / "b", shipped=artifacts(searched=0.5 * TIME))
    assert "25.0% over the budget" in "\n".join(late.summary())
    assert "and takes 25.0% more time." in late.summary()[0]


def test_a_search_without_training_has_a_page(tmp_path):
    bare = found(tmp_path, full=False, prices=toy.prices(bytes_=0.3 * toy.size(toy.FULL)))
    assert "not trained" in page.page(bare)
    assert Elements(page.page(bare)).names.count("svg") == 3
    assert bare.correlation() is None and bare.times() == []


def test_predicted_times_carry_the_correction(report):
    for _, predicted, measured in report.times():
        assert measured == pytest.approx(predicted)


def test_dots_lie_where_they_should():
    dots = [Dot(0.0, 0.0, "none", "a"), Dot(1.0, 1.0, "fma", "b")]
    svg = scatter(dots, Axis("x"), Axis("y"), "t", front=[(0, 0), (1, 1)], limit=1.0)
    low, high = (marks(svg, "circle", k)[0] for k in ("none", "fma"))
    assert float(low.get("cx")) < float(high.get("cx"))
    assert float(low.get("cy")) > float(high.get("cy"))
    (limit,) = marks(svg, "line", "peak")
    assert float(limit.get("x1")) == pytest.approx(float(high.get("cx")))
    assert len(marks(svg, "polyline", "front")) == 1
    assert scatter([], Axis("x"), Axis("y"), "t") == "" == curves([], [], "t")
    # Dots that are all equal still have an axis.
    assert "<circle" in scatter(dots[:1], Axis("x"), Axis("y"), "t", diagonal=True)


def test_bars_are_shares_of_the_full_count():
    svg = kept([("stem", 32, 16, 8)], "t")
    whole, searched, uniform = (
        float(marks(svg, "rect", k)[0].get("width")) for k in ("none", "popcount", "fma")
    )
    assert (searched / whole, uniform / whole) == (pytest.approx(0.5), pytest.approx(0.25))
