"""Tiles against popcount, with tiles emulated: times mean nothing."""

import platform

import pytest

from benchmarks import amx
from bnn_compiler import families
from tests.kernels import kernel
from tests.kernels.cpu import tiles

pytestmark = pytest.mark.skipif(platform.machine() != "x86_64", reason="tiles are x86's")


def test_both_kernels_of_a_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bnn_compiler.deploy.cpu.link.TILES", tiles.MEANING)
    monkeypatch.setattr("bnn_compiler.deploy.cpu.trial.has_tiles", lambda _: True)
    task, target = kernel.task(33, 5, 16), tiles.without_amx()
    other = families.rule(task, target.hardware)
    row = amx.compare(task, 3, target, other, points=1, rounds=2)
    assert (row.other, row.tiles["family"], row.times) == (other.as_dict(), "amx", 3)
    assert 0 < row.tiles_minimum_us <= row.tiles_median_us
    assert row.other_minimum_us <= row.other_median_us
    assert row.tiles_minimum_us in (row.apart_minimum_us, row.overlapped_minimum_us)
    text = amx.table([row])
    assert f"| {row.layer} | 3 |" in text and "us without tiles" in text
