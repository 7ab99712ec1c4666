"""Alternating timings and their ratios, on a clock that the programs move."""

import pytest

from benchmarks.timing import Timing, alternate, ratio


class Clock:
    """Seconds that pass only when a program says so."""

    def __init__(self) -> None:
        self.now = 0.0
        self.calls: list[str] = []

    def program(self, name: str, seconds: float):
        def run() -> None:
            self.calls.append(name)
            self.now += seconds

        return run

    def __call__(self) -> float:
        return self.now


def test_programs_take_turns_and_the_first_call_of_a_burst_is_not_counted() -> None:
    clock = Clock()
    programs = {"a": clock.program("a", 1.0), "b": clock.program("b", 2.0)}
    timings = alternate(programs, seconds=13.0, burst_seconds=2.0, clock=clock)
    assert "".join(clock.calls) == "aaabb" + "bbaaa"
    assert timings["a"] == Timing(((1.0, 1.0), (1.0, 1.0)))
    assert timings["b"] == Timing(((2.0,), (2.0,)))


def test_every_program_runs_even_without_time() -> None:
    clock = Clock()
    timings = alternate({"a": clock.program("a", 1.0)}, seconds=0.0, clock=clock)
    assert timings["a"].runs == 1


def test_ratio_of_medians_minima_and_pairs() -> None:
    # The machine is three times slower in the second and third round, for both.
    ours = Timing(((2.0, 2.0), (6.0,), (6.0,)))
    theirs = Timing(((1.0, 1.0, 1.0, 1.0), (3.0,), (3.0,)))
    assert ours.median == 4.0
    assert ours.minimum == 2.0
    result = ratio(ours, theirs)
    assert (result.medians, result.minima, result.paired) == (4.0, 2.0, 2.0)


def test_ratio_refuses_timings_of_different_calls() -> None:
    with pytest.raises(ValueError, match="longer"):
        ratio(Timing(((1.0,),)), Timing(((1.0,), (1.0,))))
