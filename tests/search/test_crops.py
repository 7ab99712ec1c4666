import pytest
import torch
from torch import nn

import bnn_compiler.search.crops as crops
from bnn_compiler.errors import TrainingError
from bnn_compiler.search.crops import Crop
from tests.search.small import FULL, space

PLANS = [{"a": 5, "b": 7}, {"a": 16, "b": 3}, {"b": 24, "conv2.groups": 24}, {}, FULL]


class Concat(nn.Module):
    """Two branches of c channels, concatenated, and a convolution of both."""

    def __init__(self, c):
        super().__init__()
        self.left, self.right = nn.Conv2d(3, c, 1), nn.Conv2d(3, c, 1)
        self.last = nn.Conv2d(2 * c, 2, 1)

    def forward(self, x):
        return self.last(torch.cat([self.left(x), self.right(x)], 1))


class ConcatSpace:
    """Crops as a concatenation needs it: the second half's inputs do not lead."""

    def __init__(self):
        self.full = {"c": 6}
        torch.manual_seed(0)
        self.model = Concat(6)

    def crop(self, plan):
        c, m = plan.get("c", 6), self.model
        net = Concat(c)
        inputs = [*range(c), *range(6, 6 + c)]
        for mine, theirs in ((net.left, m.left), (net.right, m.right)):
            mine.weight.data, mine.bias.data = theirs.weight.data[:c], theirs.bias.data[:c]
        net.last.weight.data, net.last.bias.data = m.last.weight.data[:, inputs], m.last.bias.data
        return net


@pytest.mark.parametrize("plan", PLANS)
def test_values_are_those_of_the_spaces_crop(plan):
    full = space()
    before = {n: p.clone() for n, p in full.model.named_parameters()}
    crop = Crop.of(full, plan)
    wanted = dict(full.crop(plan).named_parameters())
    found = crop.values(dict(full.model.named_parameters()))
    assert found.keys() == wanted.keys()
    for name in wanted:
        assert torch.equal(found[name], wanted[name]), name
    for name, parameter in full.model.named_parameters():
        assert torch.equal(parameter, before[name]), name
        assert parameter.dtype == torch.float32


def test_elements_that_do_not_lead_are_found():
    source = ConcatSpace()
    crop = Crop.of(source, {"c": 4})
    leads = {n: all(r is None for r in p.rows) for n, p in crop.picked.items()}
    assert leads.pop("last.weight") is False
    assert all(leads.values())
    assert all(p.positions is None for p in crop.picked.values())
    x = torch.randn(2, 3, 4, 4)
    parameters = dict(source.model.named_parameters())
    result = crop.run(parameters, x, False)
    torch.testing.assert_close(result, source.crop({"c": 4})(x))
    result.sum().backward()
    touched = source.model.last.weight.grad[0, :, 0, 0] != 0
    assert touched.tolist() == [True] * 4 + [False] * 2 + [True] * 4 + [False] * 2


def test_groups_join_channels_that_no_rows_and_columns_give():
    picked = Crop.of(space(), {"conv2.groups": 4}).picked
    assert picked["conv2.weight"].positions is not None
    assert picked["conv1.weight"].positions is None


def test_positions_beyond_float32_are_exact(monkeypatch):
    full = space()
    wanted = Crop.of(full, {"a": 5, "conv2.groups": 4}).values(dict(full.model.named_parameters()))
    # As if 64 were the largest number that is exact.
    monkeypatch.setattr(crops, "_BASE", 64)
    found = Crop.of(full, {"a": 5, "conv2.groups": 4}).values(dict(full.model.named_parameters()))
    for name, value in wanted.items():
        assert torch.equal(found[name], value), name


def test_other_types_are_refused():
    full = space()
    full.model.half()
    with pytest.raises(TrainingError, match=r"torch\.float16; train in float32"):
        Crop.of(full, {"a": 5})
    assert full.model.fc.weight.dtype == torch.float16


@pytest.mark.parametrize("plan", PLANS)
def test_gradients_are_the_cropped_networks(plan):
    full = space()
    x = torch.randn(4, 1, 12, 12)
    parameters = dict(full.model.named_parameters())
    Crop.of(full, plan).run(parameters, x, True).square().sum().backward()
    alone = full.crop(plan).train()
    alone(x).square().sum().backward()
    picked = Crop.of(full, plan).picked
    for name, parameter in alone.named_parameters():
        torch.testing.assert_close(picked[name](parameters[name].grad), parameter.grad)
        assert torch.count_nonzero(parameters[name].grad) == torch.count_nonzero(parameter.grad)


def test_a_network_of_its_own_shares_nothing():
    full = space()
    crop = Crop.of(full, {"a": 5, "b": 7})
    parameters = dict(full.model.named_parameters())
    first = crop.network(parameters)
    with torch.no_grad():
        for p in first.parameters():
            p.zero_()
    # Training through the crop moves the frame's statistics, never a network's.
    crop.run(parameters, torch.randn(4, 1, 12, 12), True)
    second, wanted = crop.network(parameters), full.crop({"a": 5, "b": 7})
    for key, value in wanted.state_dict().items():
        assert torch.equal(second.state_dict()[key], value), key
    assert not second.training
    assert all(p.requires_grad for p in second.parameters())


class Doubling(ConcatSpace):
    def crop(self, plan):
        net = super().crop(plan)
        net.left.weight.data = net.left.weight.data + 0.5
        return net


class Renaming(ConcatSpace):
    def crop(self, plan):
        return nn.Sequential(super().crop(plan))


class Refusing(ConcatSpace):
    def crop(self, plan):
        raise TrainingError("no such plan")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (Doubling, "left.weight computes new values"),
        (Renaming, "0.left.weight is no parameter"),
        (Refusing, "no such plan"),
    ],
)
def test_other_crops_are_refused_and_the_network_is_left_as_it_was(source, message):
    found = source()
    before = found.model.left.weight.clone()
    with pytest.raises(TrainingError, match=message):
        Crop.of(found, {"c": 4})
    assert torch.equal(found.model.left.weight, before)
