"""Candidates judged by Ray actors: a cluster of two workers on this machine."""

import shutil
import socket
import sys
from importlib.util import find_spec

import numpy as np
import pytest

from bnn_compiler.errors import SearchError
from bnn_compiler.search import cluster as clusters
from bnn_compiler.search.accuracy import Here, Lost
from bnn_compiler.search.cluster import Cluster
from bnn_compiler.search.network import FULL, INHERITED, Judges
from bnn_compiler.search.plans import seed_of
from bnn_compiler.search.pool import Luggage
from bnn_compiler.search.recalibrate import accuracy
from bnn_compiler.search.workers import Workers
from tests.search import judges, toy
from tests.search.test_network import task

# Not imported here: what Ray reads from the environment it reads then.
pytestmark = pytest.mark.skipif(
    find_spec("ray") is None, reason="no ray: pip install 'bnn_compiler[distributed]'"
)

PLANS = [{**toy.FULL, "d": d} for d in range(100, 116)]
SEEDS = [seed_of(0, p) for p in PLANS]
GOOD = Here(toy.accuracy).of(PLANS, SEEDS)


@pytest.fixture(scope="module")
def cluster():
    with Cluster.join("local", 2) as found:
        assert found.capacity >= 2
        yield found
    assert not found._folder.exists()


def test_a_worker_killed_in_mid_generation_changes_nothing(cluster, tmp_path):
    told = []
    fragile = judges.Fragile(107, tmp_path, 2)
    with Workers(fragile, 2, lambda done, of: told.append((done, of)), cluster) as workers:
        assert workers.at("").of(PLANS, SEEDS) == GOOD
        assert len(list(tmp_path.iterdir())) == 2
        assert told == [(i, 16) for i in range(1, 17)]
        # What always kills its worker is one lost candidate.
        shutil.rmtree(tmp_path)
        tmp_path.mkdir()
        (tmp_path / "more").mkdir()
    deadly = judges.Fragile(101, tmp_path / "more", 9)
    with Workers(deadly, 2, pool=cluster) as workers:
        found = workers.at("").of(PLANS[:3], SEEDS[:3])
    assert found[0] == GOOD[0] and found[2] == GOOD[2]
    assert isinstance(found[1], Lost) and "the last of 3 that had it" in found[1].reason


def test_what_a_stage_needs_is_sent_once(cluster, tmp_path):
    make = judges.Packed(tmp_path)
    assert isinstance(make, Luggage)
    with Workers(make, 1, pool=cluster) as workers:
        for stage in ("0", "1"):
            found = workers.at(stage).of(PLANS[:4], SEEDS[:4])
            assert found == [score + float(stage) for score in GOOD[:4]]
    assert make.packings == ["0", "1"]
    # And what judging left is here, though the actor has a folder of its own.
    left = {int(p.name): int(p.read_text()) for p in (tmp_path / "weights").iterdir()}
    assert left == dict(zip(SEEDS[:4], range(100, 104), strict=True))


def test_a_network_is_judged_there_as_here(cluster, tmp_path):
    here = task(tmp_path)
    here.train_supernet(lambda progress: None)
    rng = np.random.default_rng(0)
    plans, seeds = [here.draw(rng) for _ in range(2)], [1, 2]
    with Workers(Judges(here), 1, pool=cluster) as workers:
        assert workers.at(INHERITED).of(plans, seeds) == Here(here.inherited()).of(plans, seeds)
        (score,) = workers.at(FULL).of(plans[:1], seeds[:1])
    assert accuracy(here.trained_network(plans[0], 1), here.splits.choose) == score


@pytest.fixture
def closed_port():
    """A port of loopback that is taken, by a socket that does not listen."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


def test_an_address_without_a_cluster_is_one_line(closed_port, monkeypatch):
    for address in ("nowhere", "ray", "1.2.3.4", "host:99999", "ray://host:1"):
        with pytest.raises(SearchError, match="HOST:PORT of the cluster's head"):
            Cluster.join(address)
    with pytest.raises(SearchError, match=r"no cluster answers \(.*\); start one with `ray start"):
        Cluster.join(f"127.0.0.1:{closed_port}")
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(SearchError, match=r"pip install 'bnn_compiler\[distributed\]'"):
        Cluster.join("local")


def test_other_versions_are_refused(cluster, monkeypatch):
    monkeypatch.setattr(clusters, "__version__", "0.0.9")
    with (
        Workers(judges.good, 1, pool=cluster) as workers,
        pytest.raises(SearchError, match=r"has bnn_compiler .*, and here is 0\.0\.9"),
    ):
        workers.at("").of(PLANS[:1], SEEDS[:1])
