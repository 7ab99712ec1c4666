"""The latency models that come with the package are whole and know every kernel of a network."""

import pytest
import torch

from bnn_compiler import target as targets
from bnn_compiler import zoo
from bnn_compiler.cost.pick import Schedules
from bnn_compiler.latency import Kernel, model
from bnn_compiler.network import Network
from bnn_compiler.options import Options
from bnn_compiler.plan import plan

SHIPPED = [n for n in targets.names("llvm") if model.shipped(targets.load(n)).is_file()]


def test_there_are_some():
    assert "x86-64-v3" in SHIPPED


@pytest.mark.parametrize("name", SHIPPED)
def test_more_pixels_take_longer(name):
    target = targets.load(name)
    times = model.read(model.shipped(target), Schedules.load(target))
    assert times.about.measured and times.about.programs >= 50
    networks = []
    for side in (32, 64, 128):
        torch.manual_seed(0)
        net, x = zoo.get("mobinet")(), torch.randn(1, 3, side, side)
        zoo.randomize(net, x)
        networks.append(Kernel.of_plan(plan.plan(Network.of(net, (x,)).fused(Options()))))
    found = times.predict_kernels(networks)
    assert all(found.low < found.seconds) and all(found.seconds < found.high)
    assert found.seconds[0] > 1e-5 and found.seconds[2] < 1
    assert found.seconds[0] < found.seconds[1] < found.seconds[2]
