"""Plans by the table take the time that their kernels take one by one."""

import random

import numpy as np
import pytest
import torch

from bnn_compiler.latency import LatencyModel, PlanSpace
from bnn_compiler.latency.table import Table
from tests.latency import machine
from tests.latency.networks import NETWORKS, draw


@pytest.fixture(scope="module")
def fitted():
    return LatencyModel.fit(machine.samples(30), machine.SCHEDULES, "a made-up CPU")


@pytest.mark.parametrize("name", ["forked", "birealnet18"])
def test_each_plan_takes_what_its_own_kernels_take(name, fitted):
    make, side = NETWORKS[name]
    space = PlanSpace.of(make(), (torch.zeros(1, 3, side, side),), target="x86-64-v3")
    r = random.Random(0)
    plans = [draw(space, r) for _ in range(12)]
    tables = space.tables(plans)
    assert sorted(np.concatenate([t.rows for t in tables])) == list(range(len(plans)))
    for table in tables:
        for row, at in zip(table.rows, table.at, strict=True):
            own = space.kernels(plans[row])
            assert [k.whole() for k in own] == [table.kernels[i].whole() for i in at]
    # Far fewer kernels than there are calls, and the very same seconds.
    found = fitted.predict(space, plans)
    alone = fitted.predict_kernels([space.kernels(p) for p in plans])
    np.testing.assert_allclose(found.seconds, alone.seconds, rtol=1e-12)
    assert isinstance(tables[0], Table)
