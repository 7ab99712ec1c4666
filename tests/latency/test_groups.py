"""Which channels move together."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from bnn_compiler import zoo
from bnn_compiler.frontend.pytorch.trace import trace
from bnn_compiler.latency.dims import size
from bnn_compiler.latency.groups import Groups
from tests.author_style import AUTHOR_NETWORKS, AUTHOR_STYLE
from tests.latency.networks import forked
from tests.network import Applied


def of(model, *shape):
    return Groups.of(trace(model, (torch.zeros(shape),)))


def applied(function, *layers):
    return of(Applied(function, *layers), 2, 3, 8, 8)


def test_a_users_network():
    found = of(forked(), 2, 3, 16, 16)
    assert found.sizes == {"stem": 40, "left": 36, "right": 24, "mixed": 48, "hidden": 20}
    assert found.any_batch
    named = {layer.path: layer for layer in found.layers}
    assert named["deep"].depthwise
    assert found.full == (40, 36, 24, 48, 20, 2, 1, 1, 1, 4, 1)


def test_shortcuts_tie_the_channels_of_a_stage():
    found = of(zoo.birealnet18(width=0.1, num_classes=5), 2, 3, 32, 32)
    assert found.sizes == {
        "conv1": 6, "stages.1.0.conv": 12, "stages.2.0.conv": 25, "stages.3.0.conv": 51,
    }  # fmt: skip


def test_doubled_planes_follow_from_sums():
    found = of(AUTHOR_NETWORKS["duplicated block"][0](), 2, 3, 20, 20)
    assert found.sizes == {"stem": 16}


@pytest.mark.parametrize("name", ["masked sign, flat weights", "standardised weights", "pad +1"])
def test_weights_as_others_spell_them(name):
    assert of(AUTHOR_STYLE[name](), 2, 3, 20, 20).sizes == {"stem": 24}


def test_a_layer_that_is_called_twice_ties_what_it_reads_and_gives():
    first, twice, last = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 1), nn.Conv2d(8, 4, 1)
    found = applied(lambda x, a, b, c: c(b(b(a(x)))), first, twice, last)
    assert found.sizes == {"layers.0": 8}


def test_what_has_no_rule_is_fixed():
    conv, last = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 4, 1)
    assert applied(lambda x, a, b: b(a(x)), conv, last).sizes == {"layers.0": 8}
    for unknown in (
        lambda y: torch.flip(y, [1]),
        lambda y: y.roll(1, 1),
        lambda y: torch.einsum("nchw,cd->ndhw", y, torch.ones(8, 8)),
        lambda y: F.pixel_shuffle(F.pixel_unshuffle(y, 2), 2),
        lambda y: y.view(-1, 2, 4, 8, 8).transpose(1, 2).reshape(-1, 8, 8, 8),
        lambda y: y + y[:, :1] + y[:, 1:2],
        lambda y: y * torch.arange(8.0).view(1, 8, 1, 1),
    ):
        assert not applied(lambda x, a, b, f=unknown: b(f(a(x))), conv, last).sizes, unknown


def test_a_slice_of_everything_cuts_nothing():
    conv, last = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 4, 1)
    assert applied(lambda x, a, b: b(a(x)[:, :8]), conv, last).sizes == {"layers.0": 8}


def test_images_and_outputs_are_fixed():
    assert not applied(lambda x, a: a(x), nn.Conv2d(3, 8, 1)).sizes
    assert not applied(lambda x, a: a(x) + x, nn.Conv2d(3, 3, 1)).sizes


def test_a_batch_that_a_network_fixes():
    found = applied(lambda x, a: a(x.view(1, 6, 8, 8)), nn.Conv2d(6, 4, 1))
    assert not found.any_batch


def test_depthwise_with_a_multiplier():
    found = applied(
        lambda x, a, b, c: c(b(a(x))),
        nn.Conv2d(3, 8, 1), nn.Conv2d(8, 24, 3, groups=8), nn.Conv2d(24, 4, 1),
    )  # fmt: skip
    assert found.sizes == {"layers.0": 8}
    last = found.layers[-1]
    assert size(last.inputs, (5, *found.full[1:])) == 15


def test_a_gate_and_what_it_gates_are_one_group():
    conv, gate, head = nn.Conv2d(3, 24, 3), nn.Conv2d(24, 24, 1), nn.Conv2d(24, 5, 1)

    def excited(x, conv, gate, head):
        y = conv(x)
        return head(F.hardswish(y * torch.sigmoid(gate(y.mean((2, 3), keepdim=True)))))

    assert list(applied(excited, conv, gate, head).sizes.values()) == [24]
