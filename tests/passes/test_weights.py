import numpy as np
import pytest

from bnn_compiler.errors import ModelError
from bnn_compiler.passes import weights
from bnn_compiler.passes.weights import few_levels, split_weights, three_levels, two_bases

TERNARY = np.array([[[[0.5, -0.5, 0.0]]], [[[0.0, 2.0, -2.0]]]], np.float32)


def test_signs_and_scales():
    w = np.array([[[[0.5, -0.5, 0.5]]], [[[2.0, 2.0, -2.0]]]], np.float32)
    found = split_weights(w)
    np.testing.assert_array_equal(found.scale, [0.5, 2.0])
    np.testing.assert_array_equal(found.signs, np.sign(w))
    (plane,) = found.planes("exact", "conv")
    np.testing.assert_array_equal(plane, np.sign(w))


def test_other_magnitudes_are_no_binary_weights():
    w = np.array([[[[0.3, 0.2, -0.3]]]], np.float32)
    assert split_weights(w) is None
    assert split_weights(np.abs(w)) is None


def test_a_dead_channel_has_scale_zero():
    found = split_weights(np.zeros((1, 1, 1, 2), np.float32))
    assert found.scale == 0 and found.zeros == 0


def test_planes_of_ternary_weights_have_the_weights_as_mean():
    found = split_weights(TERNARY)
    planes = found.planes("exact", "conv")
    assert len(planes) == 2 and all(set(np.unique(p)) == {-1, 1} for p in planes)
    np.testing.assert_array_equal(sum(planes) / 2, np.sign(TERNARY))
    np.testing.assert_array_equal(found.scale, [0.5, 2.0])


@pytest.mark.parametrize("value", [1, -1])
def test_a_zero_read_as_a_sign(value):
    (plane,) = split_weights(TERNARY).planes(f"{value:+d}", "conv")
    np.testing.assert_array_equal(plane[TERNARY == 0], value)


def test_zeros_can_be_refused():
    with pytest.raises(ModelError, match="conv7: 2 of 6 binary weights are exactly 0"):
        split_weights(TERNARY).planes("error", "conv7")


def test_three_levels_of_two_sizes():
    w = np.array([0, 0.5, -0.2, 0.5, -0.2, 0, 0.5, 0.5, 0], np.float32).reshape(1, 3, 3, 1)
    w = np.concatenate([w, -w, np.maximum(w, 0), 0 * w])
    found = three_levels(w)
    upper, lower = (v.reshape(-1, 1, 1, 1) for v in (found.upper, found.lower))
    again = (upper * (found.above + 1) + lower * (found.below - 1)) / 2
    np.testing.assert_allclose(again, w, rtol=1e-6)
    assert {*np.unique(found.above), *np.unique(found.below)} == {-1, 1}
    assert found.note == "ternary weights, 56 % zeros"


def test_other_weights_have_no_three_levels():
    rng = np.random.default_rng(0)
    assert three_levels(rng.normal(size=(2, 3, 3, 4)).astype(np.float32)) is None
    assert three_levels(np.ones((2, 3, 3, 4), np.float32)) is None
    assert three_levels(np.array([0, 1, -2], np.float32).reshape(1, 1, 1, 3)) is None


def test_a_sum_of_two_bases():
    rng = np.random.default_rng(0)
    first, second = np.sign(rng.normal(size=(2, 3, 3, 3, 8))).astype(np.float32)
    scale = np.array([0.7, 1.0, -0.2], np.float32).reshape(3, 1, 1, 1)
    w = scale * first + np.float32(0.3) * second
    found = two_bases(w)
    large, small = (v.reshape(-1, 1, 1, 1) for v in (found.large, found.small))
    np.testing.assert_allclose(large * found.first + small * found.second, w, rtol=1e-6)
    assert {*np.unique(found.first), *np.unique(found.second)} == {-1, 1} and few_levels(w)


def test_a_float_layer_is_told_by_its_first_channel(monkeypatch):
    rng, seen = np.random.default_rng(0), []
    split = weights.split_weights
    monkeypatch.setattr(weights, "split_weights", lambda w: seen.append(len(w)) or split(w))
    w = rng.normal(size=(64, 3, 3, 16)).astype(np.float32)
    assert not few_levels(w) and seen == [1]
    # Its zeros may be in other channels.
    w[:] = rng.choice([-0.5, 0, 2], w.shape)
    w[0] = np.where(w[0] > 0, 2, -0.5)
    assert few_levels(w) and seen == [1, 1, 64]


def test_other_weights_are_no_two_bases():
    rng = np.random.default_rng(0)
    assert two_bases(rng.normal(size=(2, 3, 3, 8)).astype(np.float32)) is None
    assert two_bases(rng.choice([-1, -0.5, 0, 0.5, 1], (2, 3, 3, 8))) is None
    # Few weights have two sizes by accident.
    assert two_bases(np.array([1, -2, 2, 1], np.float32).reshape(1, 1, 1, 4)) is None


@pytest.mark.parametrize("odd", [np.nan, np.inf, -np.inf])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_what_is_not_finite_is_no_level(odd):
    rng = np.random.default_rng(0)
    w = rng.standard_normal((2, 3, 3, 64)).astype(np.float32)
    w[0, 0, 0, 0] = odd
    assert not few_levels(w)
    w[1:] = np.where(w[1:] > 0, 1, -1)
    w[0] = np.where(rng.standard_normal(w[0].shape) > 0, 1, -1)
    w[0, 0, 0, 0] = odd
    assert not few_levels(w)
