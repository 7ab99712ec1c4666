"""Supernets and generated weights of networks as they are, cropped by PlanSpace."""

import numpy as np
import pytest
import torch
from torch import nn

from bnn_compiler.errors import PlanError
from bnn_compiler.latency.space import PlanSpace
from bnn_compiler.nn import BinaryConv2d, RPReLU, RSign, Shortcut
from bnn_compiler.search.crops import Crop
from bnn_compiler.search.hypernet import PruningNet
from bnn_compiler.search.supernet import Supernet, by_scale, random_plans
from bnn_compiler.zoo.mobinet import MoBiNet
from bnn_compiler.zoo.reactnet import Block


class Users(nn.Module):
    """A user's network: a ReActNet block that widens by copies, then channels that are free."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8))
        self.block = Block(8, 16, 2, 0)
        self.sign, self.conv = RSign(16), BinaryConv2d(16, 12, 3, padding=1)
        self.rest = nn.Sequential(nn.BatchNorm2d(12), RPReLU(12))
        self.fc = nn.Linear(12, 4)

    def forward(self, x):
        x = self.block(self.stem(x))
        return self.fc(self.rest(self.conv(self.sign(x))).mean((2, 3)))


class Free(nn.Module):
    """Two blocks whose shortcuts are between any counts."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(1, 8, 3, 2, 1)
        self.signs = nn.ModuleList([RSign(8), RSign(16)])
        convs = BinaryConv2d(8, 16, 3, padding=1, stride=2), BinaryConv2d(16, 12, 3, padding=1)
        self.convs = nn.ModuleList(convs)
        self.norms = nn.ModuleList([nn.BatchNorm2d(16), nn.BatchNorm2d(12)])
        self.shortcuts = nn.ModuleList([Shortcut(2), Shortcut()])
        self.fc = nn.Linear(12, 4)

    def forward(self, x):
        x = self.stem(x)
        for i in (0, 1):
            x = self.shortcuts[i](x, self.norms[i](self.convs[i](self.signs[i](x))))
        return self.fc(x.mean((2, 3)))


@pytest.fixture(scope="module")
def users():
    torch.manual_seed(0)
    return PlanSpace.of(Users(), (torch.randn(1, 1, 16, 16),))


@pytest.fixture(scope="module")
def grouped():
    torch.manual_seed(0)
    plan = ((0, 0), (0, 0), (0, 0))
    net = MoBiNet(16, plan, in_channels=1, num_classes=4)
    return PlanSpace.of(net, (torch.randn(1, 1, 16, 16),))


def same(space, plan):
    """A supernet's network is the space's own crop; so are its outputs and its gradients."""
    net, x = Supernet(space).eval(), torch.randn(2, 1, 16, 16)
    wanted = space.crop(plan).eval()
    torch.testing.assert_close(net.network(plan)(x), wanted(x))
    result = net(x, plan)
    torch.testing.assert_close(result, wanted(x))
    result.sum().backward()
    wanted(x).sum().backward()
    parameters = dict(net.model.named_parameters())
    picked = Crop.of(space, plan).picked
    for name, parameter in wanted.named_parameters():
        torch.testing.assert_close(picked[name](parameters[name].grad), parameter.grad)
    return picked


def test_a_users_network(users):
    assert users.full == {"stem.0": 8, "conv": 12}
    picked = same(users, {"stem.0": 5, "conv": 7})
    # Behind the concatenation the second copy's channels do not lead.
    rows = picked["conv.weight"].rows
    assert rows[0] is None
    assert rows[1].tolist() == [0, 1, 2, 3, 4, 8, 9, 10, 11, 12]


@pytest.fixture(scope="module")
def free():
    torch.manual_seed(0)
    return PlanSpace.of(Free(), (torch.randn(1, 1, 16, 16),))


def test_shortcuts_that_tie_nothing(free):
    assert free.full == {"stem": 8, "convs.0": 16, "convs.1": 12}
    for counts in ((8, 16, 12), (5, 9, 11), (7, 3, 3), (2, 11, 1)):
        picked = same(free, dict(zip(free.full, counts, strict=True)))
        assert all(rows is None for p in picked.values() for rows in p.rows)


def test_a_supernet_with_such_shortcuts_trains(free):
    net, rng = Supernet(free).train(), np.random.default_rng(0)
    draw = by_scale(free.full)
    for _ in range(2):
        (loss,) = random_plans(draw)(net, torch.randn(4, 1, 16, 16), torch.arange(4), rng)
        loss.backward()
    assert net.model.stem.weight.grad.abs().sum() > 0
    generated = PruningNet(free, hidden=4)
    plan = draw(rng)
    x = torch.randn(2, 1, 16, 16)
    torch.testing.assert_close(generated.eval()(x, plan), generated.network(plan)(x))


@pytest.mark.parametrize("groups", [1, 2, 8, 16])
def test_group_counts_from_one_to_depthwise(grouped, groups):
    same(grouped, {"blocks.0.conv3.groups": groups, "blocks.1.conv1.groups": 4})


def test_groups_and_channels_together(grouped):
    same(grouped, {"stem.0": 12, "blocks.0.conv3.groups": 3})
    with pytest.raises(PlanError, match="5 groups do not divide"):
        Supernet(grouped)(torch.randn(1, 1, 16, 16), {"blocks.0.conv3.groups": 5})


def test_a_supernet_of_groups_trains(grouped):
    names = [name for name in grouped.convolutions if name.startswith("blocks")]
    draw = by_scale(grouped.full, choices={"stem.0": [16]} | {n: (1, 4, 16) for n in names})
    net, rng = Supernet(grouped).train(), np.random.default_rng(0)
    x, y = torch.randn(4, 1, 16, 16), torch.arange(4)
    (loss,) = random_plans(draw)(net, x, y, rng)
    loss.backward()
    assert net.model.blocks[0].conv3.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("fed", ["layer", "plan"])
def test_generated_weights(users, fed):
    net, x = PruningNet(users, hidden=4, fed=fed).eval(), torch.randn(2, 1, 16, 16)
    plan = {"stem.0": 5, "conv": 7}
    torch.testing.assert_close(net(x, plan), net.network(plan)(x))
    assert not torch.equal(net.network(plan).conv.weight, users.crop(plan).conv.weight)
