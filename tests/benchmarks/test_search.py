import json
from argparse import Namespace
from types import SimpleNamespace
from xml.etree import ElementTree

import pytest
import torch

from benchmarks import optimizers, report, search, search_networks, search_plot
from benchmarks.search_networks import NETWORKS, Network, Size
from benchmarks.search_plans import METHODS, Random, Study, curve, scaled_to
from bnn_compiler.search.costs import ops
from bnn_compiler.search.data import Splits
from bnn_compiler.search.evolution import Settings
from bnn_compiler.search.history import History
from bnn_compiler.search.train import Settings as Recipe
from tests.search import toy

TINY = Size(100, 50, Recipe(1, batch=25), 1, 4, 1, 2)


def point(method, micros, *tests, measured=True):
    seconds = micros * 1e-6
    return search.Point(
        "net", method, 1e-4, {"a": 1}, seconds, seconds if measured else None, tests, tests
    )


def test_accuracies_are_compared_at_equal_time():
    uniform = [point("uniform", 100, 0.8, 0.82), point("uniform", 200, 0.9, 0.92)]
    for micros, expected in ((100, 0.81), (100 * 2**0.5, 0.86), (200, 0.91), (98, 0.81)):
        found = search.at_equal_time(point("searched", micros, 0.9), uniform)
        assert found == pytest.approx(expected)
    # Too far from what was trained.
    assert search.at_equal_time(point("searched", 80, 0.9), uniform) is None
    assert search.at_equal_time(point("searched", 220, 0.9), uniform) is None
    assert search.at_equal_time(point("searched", 100, 0.9), []) is None


def test_the_table_and_the_plot(tmp_path):
    found = [
        point("uniform", 100, 0.8, 0.82),
        point("uniform", 200, 0.9, 0.92),
        point("searched", 200, 0.93, 0.95),
        point("full", 200, 0.96, 0.98),
    ]
    text = search.table(found)
    assert "| full | 200.0 | 97.00% (96.00% to 98.00%) | 2 |  |  |  |" in text
    assert "| searched | 200.0 | 94.00% (93.00% to 95.00%) | 2 | 91.00% | +3.00 |" in text
    search_plot.draw(found, tmp_path / "plot.svg")
    first = (tmp_path / "plot.svg").read_bytes()
    words = "".join(ElementTree.fromstring(first).itertext())
    assert "<svg" in first.decode() and "dc:date" not in words
    search_plot.draw(found, tmp_path / "plot.svg")
    assert (tmp_path / "plot.svg").read_bytes() == first
    assert [p.name for p in tmp_path.iterdir()] == ["plot.svg"]


def test_a_curve_goes_beyond_its_budgets():
    assert curve([100.0]) == [80.0, 100.0, 125.0]
    assert curve([100.0, 120.0]) == [80.0, 100.0, 120.0, 150.0]


def test_random_search_keeps_the_budget_and_learns_nothing():
    prices = toy.prices(0.4 * toy.seconds(toy.FULL))
    plans = Random(Settings.of(6, 3), 0).propose(History(), prices)
    assert len(plans) == 6
    assert all(toy.seconds(p) <= 0.4 * toy.seconds(toy.FULL) for p in plans)


@pytest.mark.parametrize("share", (0.1, 0.9))
def test_scaling_to_a_budget_keeps_proportions(share):
    """From either side; up to the ends of the steps."""
    prices = toy.prices(0.4 * toy.seconds(toy.FULL))
    plan = {n: max(1, int(share * c)) for n, c in toy.FULL.items()}
    rows = scaled_to(prices, prices.domain.genes([plan]))
    assert prices.fits(rows).all() and prices.used(rows).min() > 0.7


class Arithmetic:
    """A latency model that knows nothing of steps: a nanosecond for each operation."""

    about = SimpleNamespace(text="arithmetic")

    def predict(self, space, plans):
        seconds = [1e-9 * sum(map(ops, space.kernels(p))) for p in plans]
        return SimpleNamespace(seconds=torch.tensor(seconds).numpy())


@pytest.fixture
def studied(tmp_path, monkeypatch):
    """(options, studies) after the training of a small network."""
    task = search_networks.Some(
        "tests.search.digits:network", (1, 1, 32, 32), "tests.search.digits:few",
        tmp_path / "small", TINY.recipe, TINY.supernet_epochs, groups=(1, 2),
        images=TINY.images, chosen_by=TINY.choose,
    )  # fmt: skip
    monkeypatch.setitem(NETWORKS, "small", Network(search_networks.channels, (1, 2), (0.5,)))
    monkeypatch.setattr(report, "RESULTS", tmp_path / "results")
    study = Study(task, TINY, Arithmetic(), lambda text: None)
    options = Namespace(
        budgets=1, seeds=2, methods=METHODS, curve=True, workers=1, first=False, name=None
    )
    search.train("small", study, options)
    return options, {"small": study}


def test_a_study_is_trained_and_reported(studied, tmp_path):
    options, studies = studied
    study = studies["small"]
    found = search.points("small", study, 2)
    assert {p.method for p in found} == {*METHODS, "full"}
    assert len([p for p in found if p.method == "uniform"]) == 3
    assert all(len(p.tests) == 2 and p.measured is None for p in found)
    for p in found:
        assert p.predicted <= p.budget * 1.0001
    # Nothing is trained twice.
    before = (study.task.folder / "trained" / "search.json").read_bytes()
    search.train("small", study, options)
    assert (study.task.folder / "trained" / "search.json").read_bytes() == before
    search.write(studies, options, search.machine.Load(0.0, 0.0, 0.0))
    data = json.loads((tmp_path / "results" / "search.json").read_text())
    assert len(data["points"]) == len(found) and str(tmp_path) not in json.dumps(data)
    text = (tmp_path / "results" / "search.md").read_text()
    assert "(predicted)" in text and "one group" in text
    assert (tmp_path / "results" / "search_small.svg").is_file()


def test_bop_is_compared_with_adam(tmp_path, monkeypatch):
    from tests.search.digits import few

    train, test = few()
    splits = Splits(train, test, test)
    monkeypatch.setattr(
        optimizers, "network", lambda: optimizers.zoo.bop_net(width=0.05, in_channels=1)
    )
    journal = optimizers.Journal(tmp_path / "a" / "found.json")
    rows = optimizers.compare(splits, Recipe(1, batch=50), journal, 2)
    assert [r["optimizer"] for r in rows] == ["Adam, latent weights", "Bop"]
    adam, bop = (r["memory"] for r in rows)
    # One moving average for each binary weight instead of two.
    assert adam["weights"] == bop["weights"] and adam["gradients"] == bop["gradients"]
    assert 1.9 < adam["state of binary weights"] / bop["state of binary weights"] < 2.1
    assert len(journal.read()) == 8
    text = optimizers.table(rows)
    assert "| Bop |" in text and "as published for ImageNet" in text
