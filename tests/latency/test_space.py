"""Plans' kernels by substitution: exactly those of a fresh import of the pruned network."""

import os
import random

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from bnn_compiler.errors import ModelError, PlanError
from bnn_compiler.latency.space import PlanSpace
from bnn_compiler.nn import BinaryConv2d, Sign
from tests.latency.networks import NETWORKS, draw, forked, fresh

#: Plans of each network: in the suite, and with BNN_PLANS_FULL=1 (200 in all, which take minutes).
COUNTS = {
    "forked": (4, 45),
    "residual": (6, 45),
    "bop_net": (2, 35),
    "xnornet": (2, 35),
    "mobinet": (2, 45),
    "birealnet18": (1, 25),
    "reactnet_a": (1, 15),
}


def count(name):
    return COUNTS[name][bool(os.environ.get("BNN_PLANS_FULL"))]


def assert_exact(space, plan, side):
    derived, wanted = space.kernels(plan), fresh(space, plan, side)
    for a, b in zip(derived, wanted, strict=True):
        assert a == b, plan


@pytest.mark.parametrize("name", NETWORKS)
def test_random_plans(name):
    factory, side = NETWORKS[name]
    space = PlanSpace.of(factory(), (torch.zeros(1, 3, side, side),))
    r = random.Random(name)
    for _ in range(count(name)):
        assert_exact(space, draw(space, r), side)


@pytest.fixture(scope="module")
def small():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 40, 3, padding=1),
        nn.BatchNorm2d(40),
        Sign(),
        BinaryConv2d(40, 36, 3, padding=1, groups=2),
        nn.BatchNorm2d(36),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(36, 5),
    )
    return PlanSpace.of(model, (torch.zeros(1, 3, 8, 8),))


def test_what_a_space_says_of_itself(small):
    assert small.groups == small.full == {"0": 40, "3": 36}
    assert small.convolutions == {"0.groups": 1, "3.groups": 2}
    assert small.batch == 1
    assert small.target == "native"


@pytest.mark.parametrize("count", [1, 3, 33])
def test_odd_counts(small, count):
    assert_exact(small, {"0": count, "3": count, "3.groups": count}, 8)


def test_batches(small):
    assert small.kernels({"batch": 3})[0].writes[0].shape[0] == 3
    assert_exact(small, {"0": 8, "batch": 3}, 8)


def test_an_absent_key_is_full(small):
    assert small.kernels({}) == small.kernels(small.full)
    assert small.kernels({"0": np.int64(8)}) == small.kernels({"0": 8, "3": 36, "batch": 1})


@pytest.mark.parametrize(
    ("plan", "words"),
    [
        ({"1": 3}, "no group '1'; known: 0, 3, 0.groups, 3.groups, batch"),
        ({"0": 0}, "0: 0 cannot be; give an integer from 1 to 40"),
        ({"0": 41}, "0: 41 cannot be; give an integer from 1 to 40"),
        ({"0": -2}, "0: -2 cannot be"),
        ({"0": 8.0}, "0: 8.0 is no integer"),
        ({"0": True}, "0: True is no integer"),
        ({"3": "8"}, "3: '8' is no integer"),
        ({"batch": 0}, "batch: 0 cannot be; give an integer at least 1"),
        ({"0": 7}, "3: 2 groups do not divide 7 and 36 channels"),
        ({"3.groups": 5}, "3: 5 groups do not divide 40 and 36 channels"),
        ({"3.groups": 1}, "weights for 20; give 3.groups at least 2"),
    ],
)
def test_a_plan_that_cannot_be(small, plan, words):
    for ask in (small.check, small.kernels, small.crop):
        with pytest.raises(PlanError) as e:
            ask(plan)
        assert words in str(e.value)


def test_group_counts(small):
    assert small.group_counts("3.groups", {"0": 24}) == (2, 3, 4, 6, 12)
    with pytest.raises(PlanError, match="no group '0'"):
        small.group_counts("0", {})


def test_only_a_module_has_a_space():
    x = torch.zeros(2, 3, 8, 8)
    program = torch.export.export(nn.Conv2d(3, 4, 1).eval(), (x,))
    with pytest.raises(ModelError, match=r"give the nn\.Module"):
        PlanSpace.of(program, (x,))


def chain(*layers):
    return PlanSpace.of(nn.Sequential(*layers), (torch.zeros(1, 3, 6, 6),))


def test_a_plan_that_leaves_the_template():
    """A slope below 0 makes a chain that is no threshold; crops without that channel have one."""
    torch.manual_seed(0)
    act = nn.PReLU(24)
    act.weight.data[5] = -3.0
    norm = nn.BatchNorm2d(24)
    norm.running_mean.fill_(1.0)
    space = chain(
        nn.Conv2d(3, 8, 1),
        Sign(),
        BinaryConv2d(8, 24, 3),
        act,
        norm,
        Sign(),
        BinaryConv2d(24, 4, 3),
    )
    for kept in (24, 20, 6):
        assert_exact(space, {"2": kept}, 6)
    with pytest.raises(PlanError, match="the plan leaves its template: 2: epilogue"):
        space.kernels({"2": 5})


class Stored(nn.Module):
    """Weights as they are."""

    def __init__(self, i, o, zeros=()):
        super().__init__()
        self.weight = nn.Parameter(torch.where(torch.randn(o, i, 1, 1) >= 0, 1.0, -1.0))
        for at in zeros:
            self.weight.data[at] = 0

    def forward(self, x):
        return F.conv2d(x, self.weight)


def test_weights_that_are_zero():
    """They take a second binary convolution, if they are kept."""
    space = chain(nn.Conv2d(3, 20, 1), Sign(), Stored(20, 24, [(10, 6)]), nn.Conv2d(24, 4, 1))
    lengths = set()
    for inputs, outputs in ((20, 24), (7, 11), (6, 11), (7, 10), (2, 2)):
        assert_exact(space, {"0": inputs, "2": outputs}, 6)
        lengths.add(len(space.kernels({"0": inputs, "2": outputs})))
    assert len(lengths) == 2


def test_sums_that_can_be_zero():
    """A sign that leaves 0 at 0 is two planes behind a sum of an even number of signs."""
    space = chain(
        nn.Conv2d(3, 20, 1), Sign(), Stored(20, 24), Sign(zero=0), Stored(24, 9), nn.Conv2d(9, 4, 1)
    )
    lengths = set()
    for inputs in (20, 9, 8, 3, 2, 1):
        assert_exact(space, {"0": inputs}, 6)
        lengths.add(len(space.kernels({"0": inputs})))
    assert len(lengths) == 2


class Pixels(nn.Module):
    """The pixels of an image as channels: a dense layout below 16 of them."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 12, 1), nn.Conv2d(48, 20, 1)
        self.last = nn.Conv2d(20, 4, 1)

    def forward(self, x):
        y = self.first(x)
        return self.last(self.second(y.view(y.size(0), -1, 1, 1)))


def test_dense_layouts():
    space = PlanSpace.of(Pixels(), (torch.zeros(1, 3, 2, 2),))
    dense = set()
    for kept in (12, 4, 3, 2, 1):
        plan = {"first": kept}
        assert_exact(space, plan, 2)
        dense.add(sum(k.op == "to_nhwc" and k.writes[0].dense for k in space.kernels(plan)))
    assert dense == {1, 2}


def test_options_reach_the_passes():
    model = forked()
    space = PlanSpace.of(model, (torch.zeros(1, 3, 16, 16),), input_dtype="uint8")
    assert any(k.op == "byte_conv2d" for k in space.kernels({"stem": 7}))


def test_layers_in_half_precision():
    """What a GPU's tensor cores compute where sums may be reordered is what a plan is made of."""
    torch.manual_seed(0)
    model = nn.Sequential(
        *(nn.Conv2d(3, 40, 7, 2, 3), nn.BatchNorm2d(40), nn.MaxPool2d(3, 2, 1), Sign()),
        *(BinaryConv2d(40, 36, 3, padding=1), nn.AdaptiveAvgPool2d(1), nn.Flatten()),
        nn.Linear(36, 15),
    )
    options = {"target": "cuda-sm90", "allow_reorder": True}
    x = torch.zeros(1, 3, 32, 32)
    space = PlanSpace.of(model, (x,), **options)
    pruned = {"0": 20, "4": 33}
    found = space.kernels(pruned)
    assert "half 7x7/2 3->20 @8x8" in [str(k.task) for k in found]
    assert found == PlanSpace.of(space.crop(pruned), (x,), **options).kernels({})
