"""Measuring the peaks of one core."""

import platform

import pytest

from bnn_compiler import roofline
from bnn_compiler.deploy.cpu import link
from bnn_compiler.errors import BuildError
from bnn_compiler.roofline import measure
from bnn_compiler.runtime import cpu

x86 = pytest.mark.skipif(platform.machine() != "x86_64", reason="roofline.c is x86-64 assembly")


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache folder."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "bnn_compiler"


def test_parse():
    assert roofline.parse("popcount_avx2 100.0\nread_L3 90\n") == {
        "popcount_avx2": 100.0,
        "read_L3": 90.0,
    }


@x86
def test_builds_once_and_measures(cache):
    rates = roofline.rates()
    (program,) = cache.iterdir()
    built = program.stat().st_mtime_ns
    peaks, why = roofline.peaks(cpu.features(), threads=2)
    assert program.stat().st_mtime_ns == built and list(cache.iterdir()) == [program]
    assert all(rate > 0 for rate in rates.values())
    assert why == "" and peaks is not None and peaks.popcount > peaks.fma > 0
    assert [v.name for v in peaks.levels][-1] == "DRAM" and peaks.levels[-1].bytes is None


@x86
def test_every_reason_for_no_peaks(cache, monkeypatch):
    assert roofline.peaks([]) == (
        None,
        "no measured peak is one of the instructions this artifact uses",
    )
    cache.joinpath(next(cache.iterdir()).name).unlink()
    monkeypatch.setattr(link, "compiler", lambda: ["false"])
    with pytest.raises(BuildError, match="false failed"):
        roofline.rates()
    assert not list(cache.iterdir())

    cache.rmdir()
    cache.write_text("a file where the folder should be")
    assert "XDG_CACHE_HOME" in roofline.peaks(cpu.features())[1]

    monkeypatch.setattr(cpu, "machine", lambda: "vax")
    assert "vax" in roofline.peaks(cpu.features())[1]


def test_a_program_that_fails_is_one_clear_error(monkeypatch, tmp_path):
    monkeypatch.setattr(cpu, "machine", lambda: "x86_64")
    monkeypatch.setattr(measure, "_program", lambda: tmp_path / "absent")
    with pytest.raises(BuildError, match="measuring the peaks"):
        roofline.rates()


def test_buffers_lie_in_the_level_they_measure(monkeypatch):
    monkeypatch.setattr(cpu, "caches", lambda: {1: 32 << 10, 2: 1 << 20, 3: 32 << 20})
    assert measure._buffers() == {
        "L1": 8 << 10,
        "L2": 128 << 10,
        "L3": 4 << 20,
        "DRAM": 128 << 20,
    }
    monkeypatch.setattr(cpu, "caches", dict)
    assert list(measure._buffers()) == list(measure._sizes()) == ["L1", "L2", "L3", "DRAM"]
