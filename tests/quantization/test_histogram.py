"""Ranges of histograms."""

import numpy as np
import pytest

from bnn_compiler.quantization.histogram import METHODS, Histogram


def histogram(*parts):
    found = Histogram()
    for part in parts:
        found.add(np.asarray(part, np.float32))
    return found


def error(values, low, high):
    step = (max(high, 0) - min(low, 0)) / 255
    zero = np.rint(-min(low, 0) / step)
    back = (np.clip(np.rint(values / step + zero), 0, 255) - zero) * step
    return float(((values - back) ** 2).mean())


def test_bins_are_joined_when_values_grow():
    rng = np.random.default_rng(0)
    parts = [rng.normal(size=1000) * scale for scale in (0.01, 1, 100)]
    found = histogram(*parts)
    everything = np.concatenate(parts).astype(np.float32)
    assert found.counts.sum() == 3000
    assert (found.least, found.most) == (everything.min(), everything.max())
    mean = (found.centers * found.counts).sum() / 3000
    assert abs(mean - everything.mean()) < 2 * found.reach / len(found.counts)


def test_zeros_first():
    found = histogram([0, 0], [0.5, -1])
    assert found.counts.sum() == 2 and (found.least, found.most) == (-1, 0.5)


@pytest.mark.parametrize("method", METHODS)
def test_ranges_of_a_bell(method):
    values = np.random.default_rng(1).normal(size=20000).astype(np.float32)
    low, high = METHODS[method](histogram(values))
    assert values.min() <= low < -2 and 2 < high <= values.max()


@pytest.mark.parametrize("method", METHODS)
def test_nothing_below_zero(method):
    values = np.abs(np.random.default_rng(2).normal(size=20000)).astype(np.float32)
    low, high = METHODS[method](histogram(values))
    assert 0 <= low < 0.1 and 2 < high <= values.max()


def test_outliers_are_cut_but_by_min_max():
    values = np.random.default_rng(3).normal(size=20000).astype(np.float32)
    values[0] = 1000
    found = histogram(values)
    assert METHODS["min-max"](found)[1] == 1000
    assert METHODS["percentile"](found)[1] < 10
    low, high = METHODS["mse"](found)
    assert error(values, low, high) <= error(values, *METHODS["min-max"](found))


@pytest.mark.parametrize("scale", [1e-38, 1e-42, 5e37])
@pytest.mark.parametrize("method", METHODS)
def test_the_smallest_and_the_largest_floats(method, scale):
    values = (scale * np.random.default_rng(4).normal(size=2000)).astype(np.float32)
    found = histogram(values)
    assert found.counts.sum() == 2000
    low, high = METHODS[method](found)
    assert values.min() <= low < 0 < high <= values.max()
