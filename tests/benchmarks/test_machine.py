"""What is written next to every timing."""

import os

import pytest

from benchmarks import machine


def test_fields_of_the_first_processor() -> None:
    fields = machine.cpu_fields("model name\t: A\nflags\t\t: sse avx\n\nmodel name\t: B\n")
    assert fields == {"model name": "A", "flags": "sse avx"}


def test_describe_names_cpu_and_versions() -> None:
    described = machine.describe()
    assert described.cpu
    assert described.cores >= 1
    assert described.packages["numpy"] != "not installed"


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="Linux only")
def test_pin_to_the_last_core() -> None:
    before = os.sched_getaffinity(0)
    try:
        assert machine.pin() == max(before)
        assert os.sched_getaffinity(0) == {max(before)}
    finally:
        os.sched_setaffinity(0, before)


def test_own_work_is_not_counted_as_load() -> None:
    with machine.LoadMeter() as meter:
        sum(range(3_000_000))
    assert meter.load.others >= 0.0
    assert "load average" in str(meter.load)
