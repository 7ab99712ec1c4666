import multiprocessing

import pytest

from bnn_compiler.errors import SearchError
from bnn_compiler.search.accuracy import Here, Lost
from bnn_compiler.search.plans import seed_of
from bnn_compiler.search.workers import Workers
from tests.search import judges, toy

PLANS = [{**toy.FULL, "d": d} for d in range(100, 116)]
SEEDS = [seed_of(0, p) for p in PLANS]


@pytest.mark.parametrize("make", [judges.uneven, judges.clumsy])
def test_any_number_of_workers_gives_the_same(make):
    expected = Here(make("")).of(PLANS, SEEDS)
    for count in (1, 2):
        with Workers(make, count) as workers:
            assert workers.at("").of(PLANS, SEEDS) == expected
            # In another order, and again by the same processes.
            assert workers.at("").of(PLANS[::-1], SEEDS[::-1]) == expected[::-1]
    assert not multiprocessing.active_children()


def test_a_worker_that_dies_costs_one_candidate():
    told = []
    with Workers(judges.Deadly(103), 2, lambda done, of: told.append((done, of))) as workers:
        found = workers.at("").of(PLANS, SEEDS)
    good = Here(toy.accuracy).of(PLANS, SEEDS)
    assert found[3] == Lost("its worker was killed by SIGKILL (out of memory?)")
    assert found[4] == Lost("its worker ended with exit code 3")
    assert found[:3] + found[5:] == good[:3] + good[5:]
    assert told == [(i, 16) for i in range(1, 17)]


def test_a_judge_that_cannot_be_made_is_told():
    with Workers(judges.broken) as workers:
        (found, _) = workers.at("").of(PLANS[:2], SEEDS[:2])
    assert isinstance(found, Lost)
    assert "the worker could not make its judge: ValueError: no such file" in found.reason


def test_each_worker_has_one_thread():
    with Workers(judges.threads) as workers:
        assert workers.at("").of(PLANS[:1], [0]) == [1.0]


def test_an_interruption_ends_the_processes():
    def interrupt(done, of):
        raise KeyboardInterrupt

    workers = Workers(judges.good, 2, interrupt)
    with pytest.raises(KeyboardInterrupt):
        workers.at("").of(PLANS, SEEDS)
    assert not multiprocessing.active_children()
    workers.tell = lambda done, of: None
    assert workers.at("").of(PLANS[:2], SEEDS[:2]) == Here(toy.accuracy).of(PLANS[:2], SEEDS[:2])
    workers.close()


def test_the_same_processes_judge_every_stage():
    with Workers(judges.named) as workers:
        first = workers.at("a").of(PLANS[:1], [0])
        (process,) = multiprocessing.active_children()
        assert [*first, *workers.at("b").of(PLANS[:1], [0])] == [0.25, 0.5]
        assert multiprocessing.active_children() == [process]


def test_no_workers_is_an_error():
    with pytest.raises(SearchError, match="0 workers"):
        Workers(judges.good, 0)
