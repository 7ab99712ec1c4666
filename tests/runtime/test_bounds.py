import pytest

from bnn_compiler.runtime.bounds import Bound, Level, Peaks, bound

RATES = {
    "popcount_avx2": 300.0,
    "popcount_avx2-table": 400.0,
    "popcount_avx512_vpopcntdq": 1200.0,
    "fma_avx2": 60.0,
    "int8_avx512_vnni": 240.0,
    "read_L1": 200.0,
    "copy_L1": 120.0,
    "read_DRAM": 20.0,
    "copy_DRAM": 8.0,
}
SIZES = {"L1": 1000, "DRAM": None}


@pytest.fixture
def peaks():
    return Peaks.of(RATES, SIZES, ["avx2", "avx512_vpopcntdq"])


def test_peaks_are_those_of_the_features(peaks):
    assert peaks == Peaks(
        1200.0, 60.0, 240.0, (Level("L1", 1000, 240.0), Level("DRAM", None, 20.0))
    )
    assert Peaks.of(RATES, SIZES, ["avx2"]).popcount == 400.0
    with pytest.raises(ValueError):
        Peaks.of(RATES, SIZES, ["neon"])


def test_threads_multiply_rates_and_sizes(peaks):
    four = peaks.times(4)
    assert four.popcount == 4800.0 and four.level(4000) == Level("L1", 4000, 960.0)
    assert peaks.times(1) == peaks


@pytest.mark.parametrize(
    ("macs", "op", "size", "expected"),
    [
        (1_200_000, "bnn.conv2d", 1000, Bound(1e-6, "popcount", "L1")),
        (1_200_000, "bnn.float_conv2d", 1000, Bound(2e-5, "fma", "L1")),
        (1_200_000, "bnn.byte_conv2d", 1000, Bound(1e-5, "fma", "L1")),
        (1_200_000, "bnn.conv2d", 40_000, Bound(2e-6, "memory", "DRAM")),
        (0, "bnn.map", 20_000, Bound(1e-6, "memory", "DRAM")),
        (0, "bnn.map", 0, Bound(0.0, "memory", "L1")),
    ],
)
def test_bound(peaks, macs, op, size, expected):
    found = bound(peaks, macs=macs, op=op, size=size)
    assert found.seconds == pytest.approx(expected.seconds)
    assert (found.kind, found.level) == (expected.kind, expected.level)


def test_percent():
    assert Bound(1e-6, "fma", "L1").percent(4e-6) == 25.0
    assert Bound(1e-6, "fma", "L1").percent(0.0) == 0.0
