"""Ranges from samples."""

import numpy as np
import pytest
import torch
from torch import nn

from bnn_compiler.errors import InputError
from bnn_compiler.network import Network
from bnn_compiler.options import Options
from bnn_compiler.quantization import calibrate
from bnn_compiler.quantization.histogram import METHODS


def normal(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def network(model, *shape):
    torch.manual_seed(0)
    return Network.of(model.eval(), (normal(*shape),))


def test_linear_layers_of_tokens():
    """Their inputs are the framework's in another shape."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(12, 16), nn.ReLU(), nn.Linear(16, 5))
    samples = [normal(2, 7, 12, seed=s) for s in range(3)]
    found = calibrate(network(model, 2, 7, 12), Options(), samples, "min-max")
    first, second = found.ranges
    every = torch.cat(samples)
    assert (first.low, first.high) == (every.min(), every.max())
    hidden = model[:2](every).detach()
    assert second.low == 0 and second.high == pytest.approx(float(hidden.max()), rel=1e-5)


def test_images_that_are_given_again_count_once(monkeypatch):
    model = nn.Conv2d(3, 4, 3)
    counted = []

    def count(found):
        counted.append(found.counts.sum())
        return found.least, found.most

    monkeypatch.setitem(METHODS, "count", count)
    found = calibrate(network(model, 4, 3, 5, 5), Options(), normal(6, 3, 5, 5), "count")
    assert counted == [6 * 3 * 5 * 5]
    assert [(b.size, b.count, len(b.inputs[0])) for b in found.batches] == [(4, 4, 4), (4, 2, 4)]
    rows = np.arange(8)
    assert found.batches[1].of_samples(rows).tolist() == [0, 1, 2, 3]
    # What has no batch in front is whole.
    assert len(found.batches[1].of_samples(rows[:3])) == 3


def test_several_inputs_are_tuples():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.left, self.right = nn.Linear(6, 4), nn.Linear(3, 4)

        def forward(self, a, b):
            return self.left(a) + self.right(b)

    two = Network.of(Two().eval(), (normal(2, 6), normal(2, 3)))
    found = calibrate(two, Options(), [(normal(2, 6, seed=1), normal(2, 3))], "min-max")
    assert {r.layer for r in found.ranges} == {"left", "right"}
    with pytest.raises(InputError, match="no tuple of the network's 2 inputs"):
        calibrate(two, Options(), [normal(2, 6)])
    one = network(nn.Conv2d(3, 4, 3), 1, 3, 5, 5)
    with pytest.raises(InputError, match="has 2 arrays; the network takes one"):
        calibrate(one, Options(), [(normal(1, 3, 5, 5), normal(1, 3, 5, 5))])


@pytest.mark.parametrize("value", [torch.inf, -torch.inf, torch.nan])
def test_values_that_are_not_finite_inside(value):
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(6, 4)

        def forward(self, x):
            return self.fc(torch.where(x > 2, value, x))

    samples = normal(4, 6)
    samples[1, 2] = 3
    with pytest.raises(InputError, match="fc: its input has NaNs or infinities"):
        calibrate(network(Odd(), 1, 6), Options(), samples)
