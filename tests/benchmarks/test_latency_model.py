from random import Random

import numpy as np
import pytest
import torch

from benchmarks import latency_model
from benchmarks.latency_networks import NETWORKS
from bnn_compiler.latency import LatencyModel, PlanSpace
from tests.latency import machine, networks


def test_quality_says_how_far_and_in_which_order():
    measured = np.array([1.0, 2.0, 4.0, 8.0])
    found = latency_model.quality("net", "ours", measured * [1.0, 1.04, 0.92, 1.2], measured)
    assert found.mape == pytest.approx(0.08) and found.spearman == pytest.approx(1.0)
    assert (found.within_5, found.within_10) == (0.5, 0.75)
    assert latency_model.quality("net", "ours", measured[::-1], measured).spearman == -1.0
    text = latency_model.table([found], {"net": (0.01, 0.02)})
    assert "| net | ours | 4 | 8.0 % | 50 % | 75 % | 1.0000 |  |" in text
    assert "1.0 % (90 % below 2.0 %)" in text


def test_every_predictor_is_compared_and_ours_is_the_best():
    model = LatencyModel.fit(machine.samples(40), machine.SCHEDULES, "CPU")
    rows = latency_model.compare(model, machine.samples(30, seed=1))
    by_name = {r.predictor: r for r in rows}
    assert len(by_name) == len(rows) == 5
    ours = by_name.pop(latency_model.OURS)
    assert ours.coverage is not None and ours.mape < min(r.mape for r in by_name.values())
    make, side = networks.NETWORKS["bop_net"]
    space = PlanSpace.of(make(), (torch.zeros(1, 3, side, side),), target=model.target.name)
    rates = latency_model.rate(model, space, 20)
    assert list(rates) == ["first", "new", "known"] and min(rates.values()) > 0


@pytest.mark.parametrize("name", NETWORKS)
def test_plans_make_networks(name):
    plans = latency_model.draw("seed", name, 20)
    assert plans == latency_model.draw("seed", name, 20) != latency_model.draw("other", name, 20)
    model = NETWORKS[name].module(NETWORKS[name].draw(Random(0))).eval()
    assert model(torch.zeros(1, 3, 64, 64)).shape == (1, 1000)
