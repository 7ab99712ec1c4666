"""The pruned module: the same outputs if nothing is pruned, those of a masked network if it is."""

import random

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from bnn_compiler.errors import PlanError
from bnn_compiler.latency.space import PlanSpace
from tests.latency.networks import draw, forked
from tests.network import Applied


@pytest.fixture(scope="module")
def space():
    return PlanSpace.of(forked(), (torch.zeros(1, 3, 16, 16),))


def test_the_full_plan_computes_the_very_same(space):
    x = torch.randn(2, 3, 16, 16)
    for plan in ({}, space.full, space.full | space.convolutions):
        cropped = space.crop(plan)
        assert torch.equal(cropped(x), space.model(x))
        assert cropped.stem.weight.data_ptr() != space.model.stem.weight.data_ptr()


def test_attributes_and_shapes(space):
    plan = {"stem": 10, "left": 7, "right": 5, "mixed": 9, "mixed.groups": 3, "hidden": 4}
    c = space.crop(plan)
    assert (c.stem.out_channels, c.bn.num_features, c.act.num_parameters) == (10, 10, 5)
    assert (c.deep.in_channels, c.deep.out_channels, c.deep.groups) == (10, 20, 10)
    assert (c.left.in_channels, c.left.out_channels, c.left.shape) == (20, 7, (7, 20, 3, 3))
    assert c.left.weights.shape == (7 * 20 * 9, 1)
    assert (c.mixed.groups, c.gain.num_features, c.gain.gain.shape) == (3, 9, (1, 9, 1, 1))
    assert c.mixed.weight.shape == (9, 4, 3, 3)
    assert (c.hidden.in_features, c.hidden.out_features) == (36, 4)
    assert c.head.weight.shape == (7, 4)
    assert c(torch.zeros(3, 3, 16, 16)).shape == (3, 7)
    assert space.model.stem.out_channels == 40, "the space's own module is as it was"


def test_leading_channels_are_copied(space):
    c = space.crop({"stem": 10, "left": 7, "right": 5, "mixed.groups": 4, "mixed": 8})
    m = space.model
    assert torch.equal(c.stem.weight, m.stem.weight[:10])
    assert torch.equal(c.bn.running_var, m.bn.running_var[:10])
    assert torch.equal(c.side.weight[:, :7], m.side.weight[:8, :7])
    assert torch.equal(c.side.weight[:, 7:], m.side.weight[:8, 36:41])
    assert torch.equal(c.hidden.weight, m.hidden.weight[:, :32])
    assert c.stem.weight.requires_grad
    assert torch.equal(c.head.weight, m.head.weight)


class Plain(nn.Module):
    """Float layers: a pruned channel is one whose weights are 0."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(3, 6, 1)
        self.deep, self.fc = nn.Conv2d(14, 14, 3, groups=14), nn.Linear(14 * 36, 4)

    def forward(self, x):
        y = torch.cat([F.relu(self.a(x)), F.relu(self.b(x))], 1)
        return self.fc(torch.flatten(self.deep(y), 1))


def test_a_crop_is_a_network_without_the_other_channels():
    torch.manual_seed(0)
    model = Plain().eval()
    cropped = PlanSpace.of(model, (torch.zeros(1, 3, 8, 8),)).crop({"a": 5, "b": 2})
    x = torch.randn(3, 3, 8, 8)
    with torch.no_grad():
        got = cropped(x)
        for gone in (slice(5, 8), slice(10, 14)):
            model.fc.weight.reshape(4, 14, 36)[:, gone] = 0
        torch.testing.assert_close(got, model(x), rtol=1e-4, atol=1e-5)


def test_tied_parameters_stay_tied():
    first, last = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 4, 1)
    left, right = nn.PReLU(8), nn.PReLU(8)
    right.weight = left.weight
    model = Applied(lambda x, a, p, q, b: b(p(a(x)) + q(a(x))), first, left, right, last)
    cropped = PlanSpace.of(model, (torch.zeros(1, 3, 4, 4),)).crop({"layers.0": 3})
    assert cropped.layers[1].weight is cropped.layers[2].weight
    assert cropped.layers[1].weight.shape == (3,)


class Counting(nn.Module):
    """A forward with a channel count of its own."""

    def __init__(self, kind):
        super().__init__()
        self.kind = kind
        self.first, self.last = nn.Conv2d(3, 8, 1), nn.Linear(8, 4)

    def forward(self, x):
        y = self.first(x).mean((2, 3))
        if self.kind == "view":
            y = y.view(-1, 8)
        elif self.kind == "branch" and y.shape[1] < 8:
            y = y * 2
        return self.last(y)


@pytest.mark.parametrize(
    ("kind", "words"), [("view", "last: the pruned"), ("branch", "takes another way")]
)
def test_a_forward_that_counts_by_itself(kind, words):
    space = PlanSpace.of(Counting(kind), (torch.zeros(1, 3, 4, 4),))
    space.crop({})
    with pytest.raises(PlanError, match=words):
        space.crop({"first": 6})


def test_random_crops_run(space):
    r = random.Random(1)
    for _ in range(5):
        plan = draw(space, r)
        batch = plan.get("batch", 1)
        assert space.crop(plan)(torch.zeros(batch, 3, 16, 16)).shape == (batch, 7)
