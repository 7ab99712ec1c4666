"""Plans of networks with general programs between binary layers."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from bnn_compiler.errors import PlanError
from bnn_compiler.latency.kernel import Kernel
from bnn_compiler.latency.model import LatencyModel
from bnn_compiler.latency.space import PlanSpace
from bnn_compiler.latency.variants import Variants
from bnn_compiler.network import Network
from bnn_compiler.nn import BinaryConv2d, Sign
from bnn_compiler.options import Options
from bnn_compiler.plan.plan import plan
from tests.latency import machine
from tests.network import Function


def between(function):
    """Two binary convolutions with ``function`` of an image between them."""
    layers = [nn.Conv2d(3, 24, 3), Sign(), BinaryConv2d(24, 32, 3), nn.BatchNorm2d(32)]
    layers += [BinaryConv2d(32, 40, 1), nn.Linear(40, 10)]

    def forward(m, x):
        y = function(m[3](m[2](m[1](m[0](x)))))
        return torch.log_softmax(m[5](m[4](m[1](y)).mean((2, 3))), 1)

    torch.manual_seed(0)
    return Function(forward, *layers).eval()


def attention(x):
    n, c, h, w = x.shape
    t = x.flatten(2).transpose(1, 2)
    return (torch.softmax(t @ t.transpose(1, 2), -1) @ t).transpose(1, 2).reshape(n, c, h, w)


def shuffle(x):
    n, c, h, w = x.shape
    return x.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)


def planned(model):
    return Kernel.of_plan(plan(Network.of(model, (torch.randn(1, 3, 8, 8),)).fused(Options())))


FUNCTIONS = {
    "attention": attention,
    "shuffle": shuffle,
    "layer norm": lambda x: F.layer_norm(x, x.shape[1:]),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_kernels_are_those_that_compiling_gives(name):
    space = PlanSpace.of(between(FUNCTIONS[name]), [torch.randn(1, 3, 8, 8)])
    half = {group: count // 2 for group, count in space.groups.items()}
    assert half
    for given in ({}, half):
        found = space.kernels(given)
        assert found == planned(space.crop(given))
        assert any(k.op == "general" for k in found)
    seconds = LatencyModel.load(machine.TARGET).predict(space, [half, {}]).seconds
    assert seconds[0] < seconds[1]


def test_a_program_whose_sizes_follow_the_plan_is_one_error():
    space = PlanSpace.of(between(lambda x: torch.softmax(x, 1)), [torch.randn(1, 3, 8, 8)])
    with pytest.raises(PlanError, match=r"softmax1: .*sizes in its program change with the plan"):
        space.kernels({"layers.2": 20})


def test_calibration_leaves_what_programs_read_and_write():
    variants = Variants.of(
        plan(Network.of(between(shuffle), (torch.randn(1, 3, 8, 8),)).fused(Options()))
    )
    calls = variants.plan.calls
    general = [c for c in calls if c.op == "general"]
    assert general and all(
        b.id not in variants.group for c in general for b in (*c.data, *c.writes)
    )
