import copy

import pytest
import torch
from torch import nn

from bnn_compiler.errors import TrainingError
from bnn_compiler.nn import BinaryConv2d, BinaryLinear, RPReLU
from bnn_compiler.search.data import Tensors
from bnn_compiler.search.recalibrate import recalibrate
from bnn_compiler.search.scratch import FromScratch, reinitialize, trained
from bnn_compiler.search.train import Settings
from tests.search.small import quadrants, space

DATA = Tensors(*quadrants(240))
SETTINGS = Settings(epochs=4, batch=40, lr=1e-2)


def test_a_plan_is_trained_from_nothing():
    """What the space's network holds does not matter, nor whether it was frozen."""
    one, two = space(), space(seed=9)
    for p in two.model.parameters():
        p.requires_grad_(False)
    plan = {"a": 8, "b": 12}
    first, second = (trained(s, plan, DATA, SETTINGS, 3) for s in (one, two))
    for key, value in first.state_dict().items():
        assert torch.equal(value, second.state_dict()[key]), key
    other = trained(one, plan, DATA, SETTINGS, 4)
    assert not torch.equal(first.fc.weight, other.fc.weight)


def test_its_statistics_are_those_of_the_images_as_they_are():
    network = trained(space(), {"a": 8}, DATA, SETTINGS, 0)
    again = copy.deepcopy(network)
    recalibrate(again, [DATA.images])
    for key, value in again.state_dict().items():
        assert torch.equal(value, network.state_dict()[key]), key


def test_its_accuracy_is_of_the_plan_and_the_seed():
    judge = FromScratch(space(), DATA, Tensors(*quadrants(200, seed=1)), SETTINGS)
    found = [judge({"a": 8, "b": 12}, 0), judge({"a": 8, "b": 12}, 1)]
    assert min(found) > 0.7
    torch.manual_seed(77)
    assert judge({"a": 8, "b": 12}, 0) == found[0]


def test_every_layer_is_drawn_as_when_it_was_made():
    def make():
        return nn.Sequential(
            nn.Conv2d(2, 3, 3),
            nn.BatchNorm2d(3),
            BinaryConv2d(3, 4, 3),
            RPReLU(4),
            nn.Flatten(),
            BinaryLinear(4, 2),
            nn.Linear(2, 2),
        )

    net = make()
    for p in net.parameters():
        p.data.fill_(7.0)
    net[1].running_mean.fill_(3.0)
    reinitialize(net, 5)
    torch.manual_seed(5)
    for key, value in make().state_dict().items():
        assert torch.equal(net.state_dict()[key], value), key


def test_a_module_that_cannot_be_drawn_anew_is_named():
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.ones(1))

    with pytest.raises(TrainingError, match=r"1 \(Odd\) cannot be drawn anew"):
        reinitialize(nn.Sequential(nn.Linear(2, 2), Odd()), 0)
