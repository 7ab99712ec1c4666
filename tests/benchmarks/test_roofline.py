"""The peaks of this CPU and the bounds that follow."""

import pytest

from benchmarks import roofline
from benchmarks.peer_weights import random_birealnet18, random_reactnet_a


def test_the_best_peak_bounds_a_network() -> None:
    peaks = {"popcount_avx2": 100.0, "popcount_avx512bw": 200.0, "fma_avx2": 50.0, "read_L3": 90.0}
    seconds = roofline.shortest(peaks, roofline.Work(binary=400_000_000, floating=50_000_000))
    assert seconds == pytest.approx(0.003)


def taps(kernel: int, stride: int, side: int) -> int:
    """Taps of a square kernel that fall inside a square image, over all outputs."""
    pad = kernel // 2
    starts = range(-pad, side - kernel + pad + 1, stride)
    return sum(0 <= start + tap < side for start in starts for tap in range(kernel)) ** 2


def test_taps_of_a_padded_3x3() -> None:
    assert taps(3, 1, 2) == 16  # four outputs, each sees the whole 2x2 image
    assert taps(1, 1, 5) == 25


def test_counted_work_is_that_of_the_networks() -> None:
    bireal, side = random_birealnet18(0), 56
    binary = 0
    floating = 64 * 3 * taps(7, 2, 224) + bireal.head.weight.size
    for block in bireal.blocks:
        conv = block.conv
        binary += conv.signs[:, :, 0, 0].size * taps(3, conv.stride, side)
        side //= conv.stride
        floating += block.down.weight.size * side**2 if block.down else 0
    assert roofline.NETWORKS["birealnet18"] == roofline.Work(binary, floating)

    react, side = random_reactnet_a(0), 112
    binary = 0
    for half in react.halves:
        for conv in half.convs:
            size = conv.signs.shape[2]
            binary += conv.signs[:, :, 0, 0].size * taps(size, conv.stride, side)
        side //= half.convs[0].stride
    floating = 32 * 3 * taps(3, 2, 224) + react.head.weight.size
    assert roofline.NETWORKS["reactnet_a"] == roofline.Work(binary, floating)
