"""1x1 layers: which they are, and their bound."""

import pytest

from benchmarks import points
from bnn_compiler.runtime.artifact import LayerProfile
from bnn_compiler.runtime.bounds import Level, Peaks


def profile(seconds: float) -> LayerProfile:
    macs = 64 * 128 * 10 * 10
    return LayerProfile(
        "conv", "bnn.conv2d", 2 * seconds, seconds, macs, True, [], "", 3000, 5000, 2000
    )


def test_bound_is_popcounts_plus_bytes() -> None:
    peaks = Peaks(100.0, 10.0, 0.0, (Level("L1", 8000, 50.0), Level("L2", None, 10.0)))
    found = points.point((64, 128, 10), [profile(2e-5), profile(4e-5), profile(3e-5)], peaks)
    assert (found.count, found.minimum_us, found.median_us) == pytest.approx((3, 20.0, 60.0))
    assert found.popcount_us == pytest.approx(8.192)
    assert found.memory_us == pytest.approx(1.0)
    assert found.bound_us == pytest.approx(9.192)
    assert "| 64 to 128 @ 10x10 | 3 |" in points.table([found])
