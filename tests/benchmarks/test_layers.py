"""A layer is the difference of two chains, and both chains compute the same."""

import numpy as np
import pytest
import torch

pytest.importorskip("openvino", reason="the peer needs OpenVINO")

from benchmarks import layers
from benchmarks.timing import Timing
from bnn_compiler.runtime.bounds import Peaks


def test_openvino_chain_agrees_with_torch() -> None:
    model, x = layers.chain(64, 8, 2)
    with torch.inference_mode():
        expected = model(x).numpy()
    got = layers.openvino_chain(model, tuple(x.shape)).run(x.numpy())
    # A sum almost on a threshold may get the other sign.
    assert np.corrcoef(got.ravel(), expected.ravel())[0, 1] > 0.99


def test_a_layer_is_the_difference_of_two_chains() -> None:
    # Ends of 5 us; our layers take 2 us, theirs 4; the second round is slower by half.
    rounds = {
        name: Timing(tuple((1e-6 * slow * (5 + layer * depth),) * 3 for slow in (1.0, 1.5)))
        for name, layer, depth in (
            ("bnn_compiler 2", 2, 2),
            ("bnn_compiler 8", 2, 8),
            ("openvino 2", 4, 2),
            ("openvino 8", 4, 8),
        )
    }
    found = layers.layers(64, 56, rounds, {"bnn_compiler": 1.0, "openvino": 1.0})
    ours, theirs = found
    assert (ours.minimum_us, theirs.minimum_us) == pytest.approx((2.0, 4.0))
    assert (ours.median_us, theirs.median_us) == pytest.approx((2.5, 5.0))
    assert (theirs.ratio_of_minima, theirs.ratio_paired) == pytest.approx((0.5, 0.5))
    assert ours.gmacs == pytest.approx(9 * 64**2 * 56**2 / 2e3)
    inside = (3 * 56 - 2) ** 2 / (9 * 56**2)
    peaks = Peaks(popcount=ours.gmacs, fma=1.0, int8=0.0, levels=())
    assert ours.of_peak(peaks) == pytest.approx(inside)
    assert layers.table(found, peaks).count("\n") == 3
