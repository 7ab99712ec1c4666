import json

import numpy as np
import pytest

from bnn_compiler.latency import caches, features, regress
from bnn_compiler.latency.regress import Kernels, Regressor
from tests.latency import machine


def data(count, seed=0):
    kernels = [k for s in machine.samples(count, seed, noise=0.0) for k in s.kernels]
    choices = [machine.SCHEDULES.pick(k.task) if k.op == "conv2d" else None for k in kernels]
    found = Kernels(*features.matrix(kernels, choices, machine.TARGET.hardware))
    programs = np.repeat(np.arange(count), len(kernels) // count)
    passing = np.bincount(programs, found.passing)
    levels = caches.levels(passing, machine.TARGET)[programs]
    return found, np.array([machine.seconds(k) for k in kernels]), programs, levels


def test_it_recovers_a_machine():
    learnt = Regressor.fit(*data(60))
    asked, truth, *_ = data(20, seed=1)
    found = learnt.predict(asked)
    assert found.shape == (len(truth), regress.MEMBERS)
    assert np.mean(np.abs(found.mean(axis=1) / truth - 1)) < 0.03


def test_json_and_back_predicts_the_same():
    learnt = Regressor.fit(*data(8))
    asked, *_ = data(4, seed=1)
    again = Regressor.from_dict(json.loads(json.dumps(learnt.as_dict())))
    np.testing.assert_array_equal(again.predict(asked), learnt.predict(asked))
    with pytest.raises(ValueError, match="other features"):
        Regressor.from_dict({**learnt.as_dict(), "features": ["one"]})


def test_a_prior_makes_few_programs_enough():
    here = Regressor.fit(*data(60))
    kernels, seconds, *where = data(5, seed=2)
    # Another machine of the same kind, half as fast.
    alone = Regressor.fit(kernels, 2 * seconds, *where)
    started = Regressor.fit(kernels, 2 * seconds, *where, prior=here)
    asked, truth, *_ = data(20, seed=1)
    missed = [
        np.mean(np.abs(r.predict(asked).mean(axis=1) / (2 * truth) - 1)) for r in (started, alone)
    ]
    assert missed[0] < 0.05 and missed[0] < missed[1]
    again = Regressor.from_dict(json.loads(json.dumps(started.as_dict())))
    np.testing.assert_array_equal(again.predict(asked), started.predict(asked))


def test_weights_take_longer_in_a_network_that_pushes_them_out():
    kernels, seconds, programs, _ = data(60)
    # Every other network is a large one, whose weights come from far away.
    level = np.where(programs % 2, caches.LEVELS - 1, 0)
    seconds = seconds * np.exp(0.5 * kernels.share * (level > 0))
    learnt = Regressor.fit(kernels, seconds, programs, level)
    longer = learnt.caches.longer
    assert 0.4 < longer[-1] - longer[0] < 0.6
    # Sizes that were not seen are like the nearest.
    assert set(longer) == {longer[0], longer[-1]} and longer[1] == longer[0]
    asked, truth, *_ = data(20, seed=1)
    for at in (0, caches.LEVELS - 1):
        factor = learnt.factor(asked.share, np.full(len(truth), at))
        found = learnt.predict(asked).mean(axis=1) * factor
        assert np.mean(np.abs(found / (truth * np.exp(0.5 * asked.share * (at > 0))) - 1)) < 0.05


def test_models_made_before_caches_were_learnt_are_read():
    learnt = Regressor.fit(*data(4))
    old = {k: v for k, v in learnt.as_dict().items() if k != "caches"}
    assert not any(Regressor.from_dict(old).caches.longer)
    with pytest.raises(ValueError, match="3 sizes of networks"):
        Regressor.from_dict({**old, "caches": [0, 0, 0]})


def test_the_rough_estimate_has_no_negative_coefficient():
    terms = np.random.default_rng(0).uniform(1, 2, (50, len(features.TERMS)))
    truth = np.zeros(len(features.TERMS))
    truth[[0, 4]] = 3e-9, 1e-9
    found = regress._least(terms, terms @ truth)
    assert (found >= 0).all()
    np.testing.assert_allclose(terms @ found, terms @ truth, rtol=1e-3)
    seconds = terms @ truth - 2.9e-9 * terms[:, 1]
    assert (regress._least(terms, seconds) >= 0).all()


def test_no_kernels_are_no_seconds():
    learnt = Regressor.fit(*data(4))
    asked, *_ = data(1)
    assert learnt.predict(asked.at(slice(0, 0))).shape[0] == 0
