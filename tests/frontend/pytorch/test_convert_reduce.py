"""Sums of many elements: by parts, exact in their own order, near the exact sum."""

import numpy as np
import pytest
import torch

from bnn_compiler.ops import evaluate
from tests import network


def run(function, x):
    graph = network.fused(network.Applied(function), x)
    (found,) = graph.outputs
    return np.asarray(evaluate.run(graph, [x.numpy()])[found])


@pytest.mark.parametrize("count", [63, 64, 65, 100, 4096])
def test_a_sum_is_that_of_sixteen_sums(count):
    x = torch.randn(2, 3, count)
    found = run(lambda v: v.sum(-1), x)
    values = x.numpy()
    if count >= 64:
        padded = np.pad(values, [(0, 0), (0, 0), (0, -count % 16)]).reshape(2, 3, -1, 16)
        values = np.zeros((2, 3, 16), np.float32)
        for row in range(padded.shape[2]):
            values = values + padded[:, :, row]
    wanted = np.zeros((2, 3), np.float32)
    for i in range(values.shape[-1]):
        wanted = wanted + values[..., i]
    assert np.array_equal(found, wanted)


def test_the_mean_of_an_image_is_near_the_exact_one():
    x = torch.rand(1, 8, 64, 64) + 1
    found = run(lambda v: v.flatten(1).mean(1), x)
    exact = x.double().flatten(1).mean(1).numpy()
    # One sum in order is off by 1e-5 of it.
    assert np.abs(found / exact - 1).max() < 1e-6


@pytest.mark.parametrize("count", [100, 128])
def test_extremes_are_the_same_however_they_are_found(count):
    x = torch.randn(4, count)
    assert np.array_equal(run(lambda v: v.amax(1), x), x.amax(1).numpy())
    assert np.array_equal(run(lambda v: v.amin(1), x), x.amin(1).numpy())
