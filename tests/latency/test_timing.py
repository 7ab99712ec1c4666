import os

import numpy as np
import pytest

from bnn_compiler.latency import timing


class Fake:
    """Runs that take what ``clock`` says the machine makes of ``seconds``."""

    def __init__(self, seconds, machine, log, name):
        self.seconds, self.machine, self.log, self.name = seconds, machine, log, name

    def run(self):
        self.log.append(self.name)
        return self.seconds * self.machine()

    def run_steps(self):
        return np.array([0.25, 0.75]) * self.run()

    def fastest(self, runs):
        return min(self.run() for _ in range(1 + runs))


def test_a_slow_minute_is_corrected():
    slow = iter(np.repeat([1.0, 2.0, 1.0, 1.0], 1000))
    speeds = {}

    def machine():
        return speeds["now"]

    log = []
    subjects = [Fake(3e-3, machine, log, "a"), Fake(5e-3, machine, log, "b")]
    reference = Fake(1e-3, machine, log, "ref")
    original = reference.fastest

    def fastest(runs):
        # Each turn begins with the reference; the machine's speed changes between turns only.
        speeds["now"] = next(slow)
        for _ in range(200):
            next(slow)
        return original(runs)

    reference.fastest = fastest
    found = timing.in_turns(subjects, reference, 6)
    assert [t.seconds(1e-3) for t in found] == pytest.approx([3e-3, 5e-3])
    assert found[0].whole.max() == pytest.approx(2 * found[0].whole.min())
    np.testing.assert_allclose(found[1].of_steps(1e-3), [1.25e-3, 3.75e-3])
    assert found[0].noise == pytest.approx(0) and found[0].steps.shape == (6, 2)
    # Every other round goes through the programs backwards, each behind the reference.
    turns = [n for n, before in zip(log[1:], log, strict=False) if before == "ref" and n != "ref"]
    assert turns == ["a", "b", "b", "a"] * 3


def test_noise_is_the_difference_of_the_halves():
    ones = np.ones(4)
    times = timing.Times(np.array([1.1, 1.1, 1.0, 1.0]), ones, np.ones((4, 1)))
    assert times.noise == pytest.approx(0.1)
    assert np.isnan(timing.Times(ones[:1], ones[:1], np.ones((1, 1))).noise)


def test_what_is_undisturbed_gives_everything_back():
    before = os.sched_getaffinity(0), os.sched_getscheduler(0)
    with pytest.raises(RuntimeError), timing.undisturbed():
        assert len(os.sched_getaffinity(0)) == 1
        raise RuntimeError
    assert (os.sched_getaffinity(0), os.sched_getscheduler(0)) == before
