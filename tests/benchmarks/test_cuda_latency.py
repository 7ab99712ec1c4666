from dataclasses import replace
from random import Random

import numpy as np
import pytest

from benchmarks import cuda_latency
from bnn_compiler import target as targets
from bnn_compiler.cost.pick import Schedules
from bnn_compiler.latency import LatencyModel, baselines, regress, vocabulary
from bnn_compiler.latency.sample import Sample
from tests.latency import machine

SCHEDULES = Schedules(targets.load("cuda-sm90"))


def samples(count, seed):
    """Networks on a GPU where a launch takes 1 us and 1 GB takes 500 us."""
    random, found = Random(seed), []
    for number in range(count):
        kernels = machine.network(random, 4)
        choices = [SCHEDULES.pick(k.task) if k.op == "conv2d" else None for k in kernels]
        _, terms, _ = vocabulary.matrix(kernels, choices, SCHEDULES.target)
        columns = [vocabulary.GPU.terms.index(n) for n in ("read", "tensors", "written")]
        steps = 1e-6 + terms[:, columns].sum(axis=1) / 2e12
        whole = float(steps.sum())
        name = f"net_{number % 2}"
        found.append(Sample(name, {"a": 1}, kernels, tuple(steps), whole, 0.01, 1e-4))
    return found


def test_every_predictor_is_compared_on_every_network(monkeypatch):
    monkeypatch.setattr(regress, "_ROUNDS", 20)
    learnt, asked = samples(16, 0), samples(6, 1)
    model = LatencyModel.fit(learnt, SCHEDULES, "a GPU", folds=2)
    rows = cuda_latency.compare(model, learnt, asked)
    names = [cuda_latency.OURS, *baselines.LINEAR, cuda_latency.TABLE]
    assert [(r.network, r.predictor) for r in rows] == [
        (network, name) for network in ("net_0", "net_1", "all") for name in names
    ]
    assert [r.plans for r in rows[:: len(names)]] == [3, 3, 6]
    ours, others = rows[-len(names)], rows[1 - len(names) :]
    assert ours.mape < 0.05 and ours.coverage is not None
    assert all(np.isfinite(r.mape) and r.coverage is None for r in others)
    # A GPU that was twice as slow, its reference too, is the same GPU.
    slow = [replace(s, seconds=2 * s.seconds, reference=2 * s.reference) for s in asked]
    assert cuda_latency.compare(model, learnt, slow)[-len(names)].mape == pytest.approx(ours.mape)
