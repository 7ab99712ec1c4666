"""The peaks of this CPU and the bounds that follow."""

import platform

import pytest

from benchmarks import roofline
from benchmarks.peer_weights import random_birealnet18, random_reactnet_a
from bnn_compiler.errors import BuildError


def test_parse_and_bound() -> None:
    peaks = roofline.parse("popcount_ymm 100.0\npopcount_zmm 200.0\nfma_zmm 50\nread_4M 90.0\n")
    assert peaks["popcount_zmm"] == 200.0
    seconds = roofline.shortest(peaks, roofline.Work(binary=400_000_000, floating=50_000_000))
    assert seconds == pytest.approx(0.003)


@pytest.mark.skipif(platform.machine() != "x86_64", reason="roofline.c is x86-64 assembly")
def test_a_compiler_that_fails_is_one_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "no-such-compiler")
    with pytest.raises(BuildError, match="no-such-compiler"):
        roofline.measure()


def test_counted_work_is_that_of_the_networks() -> None:
    bireal = random_birealnet18(0)
    sides = [56] * 4 + [28] * 4 + [14] * 4 + [7] * 4
    binary = sum(
        block.conv.signs.size * side**2 for block, side in zip(bireal.blocks, sides, strict=True)
    )
    downs = [(block.down, side) for block, side in zip(bireal.blocks, sides, strict=True)]
    floating = bireal.stem.weight.size * 112**2 + bireal.head.weight.size
    floating += sum(down.weight.size * side**2 for down, side in downs if down)
    assert roofline.NETWORKS["birealnet18"] == roofline.Work(binary, floating)

    react, side, binary = random_reactnet_a(0), 112, 0
    for half in react.halves:
        side //= half.convs[0].stride
        binary += sum(conv.signs.size for conv in half.convs) * side**2
    floating = react.stem.weight.size * 112**2 + react.head.weight.size
    assert roofline.NETWORKS["reactnet_a"] == roofline.Work(binary, floating)
