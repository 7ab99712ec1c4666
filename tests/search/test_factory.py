import pytest
import torch
import torch.nn.functional as F
from torch import nn

from bnn_compiler.errors import TrainingError
from bnn_compiler.search.factory import Factory
from tests.search.small import FULL, build, space


def test_leading_channels_are_kept():
    full = space()
    net = full.crop({"a": 5, "b": 7})
    assert torch.equal(net.conv1.weight, full.model.conv1.weight[:7, :5])
    assert torch.equal(net.stem[1].running_mean, full.model.stem[1].running_mean[:5])
    assert torch.equal(net.fc.weight, full.model.fc.weight[:, :7])
    assert torch.equal(net.conv2.weight, full.model.conv2.weight[:7, :7])


@pytest.mark.parametrize(("b", "groups"), [(24, 2), (24, 24), (12, 3), (10, 10), (6, 1)])
def test_groups_share_the_weight_between_the_same_two_channels(b, groups):
    """A grouped convolution is the dense one with the weights between groups left out."""
    full = space()
    conv = full.crop({"b": b, "conv2.groups": groups}).conv2
    assert conv.groups == groups
    dense = full.model.conv2.weight[:b, :b].clone()
    size = b // groups
    for out in range(b):
        for channel in range(b):
            if out // size != channel // size:
                dense[out, channel] = 0
    x = torch.randn(1, b, 5, 5)
    wanted = F.conv2d(x, dense, padding=1)
    torch.testing.assert_close(
        F.conv2d(x, conv.weight, padding=1, groups=groups), wanted, rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        ({"c": 3}, "'c' is unknown; known: a, b, conv2.groups"),
        ({"a": 17}, "a is 17; it is 1 to 16"),
        ({"b": 0}, "b is 0"),
        ({"conv2.groups": 0}, "groups is 0"),
    ],
)
def test_other_plans_are_refused(plan, message):
    with pytest.raises(TrainingError, match=message):
        space().crop(plan)


def test_a_grouped_full_network_cannot_give_fewer_groups():
    source = Factory(build, {**FULL, "conv2.groups": 4})
    source.crop({"conv2.groups": 8})
    with pytest.raises(TrainingError, match=r"conv2\.weight: 2 groups join channels"):
        source.crop({"conv2.groups": 2})


def test_what_is_no_part_of_the_full_network_is_refused():
    def odd(plan):
        return nn.Sequential(nn.Linear(3, 4 if plan["n"] == 2 else 5))

    with pytest.raises(TrainingError, match=r"0.weight is \[5, 3\], which is no part"):
        Factory(odd, {"n": 2}).crop({"n": 1})

    def other(plan):
        return nn.Sequential(nn.Linear(3, 4) if plan["n"] == 2 else nn.Conv2d(3, 4, 1))

    with pytest.raises(TrainingError, match="0 is not what the full network has"):
        Factory(other, {"n": 2}).crop({"n": 1})
