"""Calibrations of a machine whose times are a formula: nothing is compiled or timed."""

from itertools import count

import numpy as np
import pytest

from bnn_compiler import target as targets
from bnn_compiler.cost.pick import Schedules
from bnn_compiler.errors import InputError, ScheduleError, TargetError
from bnn_compiler.latency import LatencyModel, calibrate, model, places, programs, regress, timing
from bnn_compiler.latency.templates import Template
from bnn_compiler.latency.timing import Times
from tests.latency import machine


class Fake:
    """A program: its kernels."""

    def __init__(self, kernels):
        self.kernels = kernels


class Variants:
    """Of a network of four layers."""

    def __init__(self):
        self.plan = None

    def draw(self, random, batches=()):
        return {name: random.randrange(8, 160) for name in "abcde"}

    def kernels(self, counts):
        pairs = zip(counts.values(), list(counts.values())[1:], strict=False)
        return (machine.to_nhwc(32), *(machine.conv(a, 14, b) for a, b in pairs))


class Fakes(Template):
    def variants(self):
        return Variants()


TEMPLATES = [Fakes(name, lambda: None, (1, 3, 32, 32)) for name in ("x", "y")]


@pytest.fixture
def fake(tmp_path, monkeypatch):
    """A second of the clock is a look at it; the model and journal lie in ``tmp_path``."""
    ticks, rng = count(), np.random.default_rng(0)
    monkeypatch.setattr(regress, "_ROUNDS", 20)
    monkeypatch.setattr(calibrate, "_CANDIDATES", 3)

    def in_turns(subjects, ahead, rounds):
        found = []
        for subject in subjects:
            steps = np.array([[machine.seconds(k) for k in subject.kernels]] * rounds)
            steps = steps * np.exp(0.005 * rng.standard_normal(steps.shape))
            whole = steps.sum(axis=1)
            found.append(Times(whole, np.full(rounds, 1e-3), steps))
        return found

    monkeypatch.setattr(calibrate.time, "monotonic", lambda: float(next(ticks)))
    monkeypatch.setattr(timing, "in_turns", in_turns)
    monkeypatch.setattr(places, "reference", lambda schedules: Fake(()))
    monkeypatch.setattr(places, "Subject", Fake)
    monkeypatch.setattr(programs, "substitute", lambda plan, kernels, seed: kernels)
    monkeypatch.setattr(programs, "build", lambda plan, schedules: plan)
    monkeypatch.setattr(model, "shipped", lambda t: tmp_path / "shipped.ubj")
    monkeypatch.setattr(model, "calibrated", lambda t: tmp_path / "own.ubj")
    monkeypatch.setattr(calibrate, "journal_path", lambda t, machine="": tmp_path / "journal")
    monkeypatch.setattr(Schedules, "load", staticmethod(lambda t, path=None: Schedules(t)))
    return tmp_path


def run(**more):
    return calibrate.calibrate(
        "x86-64-v3", **{"minutes": 1e9, "programs_at_most": 20, "templates": TEMPLATES, **more}
    )


def test_it_makes_a_model_that_is_right_and_found(fake):
    states = []
    found = run(tell=states.append)
    assert found.path == fake / "own.ubj" and found.disturbed == 0
    assert found.model.about.programs == 20 and found.model.about.error < 0.1
    loaded = LatencyModel.load("x86-64-v3")
    kernels = Variants().kernels({"a": 100, "b": 30, "c": 64, "d": 128, "e": 9})
    truth = sum(machine.seconds(k) for k in kernels)
    assert loaded.predict_kernels([kernels]).seconds[0] == pytest.approx(truth, rel=0.2)
    # Progress, and the error of the model so far.
    assert [s.programs for s in states] == sorted(s.programs for s in states)
    assert states[0].error is None and states[-1].error < 0.15


def test_stopped_at_any_moment_it_goes_on(fake, monkeypatch):
    first = run(programs_at_most=8)
    assert first.model.about.programs == 8
    original, calls = timing.in_turns, count()

    def stopped(*args):
        if next(calls) == 1:
            raise KeyboardInterrupt
        return original(*args)

    monkeypatch.setattr(timing, "in_turns", stopped)
    # Ctrl-C keeps what there is.
    assert run().model.about.programs == 12
    monkeypatch.setattr(timing, "in_turns", original)
    last = run()
    assert last.model.about.programs == 20
    with calibrate.Journal(fake / "journal", machine.TARGET, calibrate.cpu.name()) as lines:
        samples = lines.samples
    plans = [tuple(s.plan.items()) for s in samples]
    # Once there is a model it chooses half of the programs.
    assert all(s.random for s in samples[:8]) and 2 < sum(s.random for s in samples[8:]) < 10
    # Going on draws other programs.
    assert len(set(plans)) == len(plans) == 20


def test_the_minutes_are_kept(fake):
    # A minute is 60 looks at the clock.
    states = []
    run(minutes=1, programs_at_most=None, tell=states.append)
    assert states[-1].doing == "fitting the model" and states[-1].seconds < 75


def test_disturbed_programs_are_left_out(fake, monkeypatch):
    original = timing.in_turns

    def noisy(subjects, ahead, rounds):
        found = original(subjects, ahead, rounds)
        found[0].whole[: rounds // 2] *= 1.5
        return found

    monkeypatch.setattr(timing, "in_turns", noisy)
    found = run()
    assert found.disturbed == 5 and found.model.about.programs == 15


def test_too_little_is_an_error_that_says_what_to_do(fake):
    with pytest.raises(ScheduleError, match="more --minutes"):
        run(minutes=1e-3)
    with pytest.raises(InputError, match="at least 8 programs"):
        run(programs_at_most=3)
    with pytest.raises(InputError, match="more than 0 minutes"):
        run(minutes=0)


def test_another_machines_target_is_refused(fake):
    foreign = next(
        n for n in targets.names("llvm") if targets.load(n).arch != targets.native().arch
    )
    with pytest.raises(TargetError, match=f"cannot run {foreign}"):
        calibrate.calibrate(foreign)


def test_a_shipped_model_is_where_it_starts(fake):
    LatencyModel.fit(machine.samples(12), machine.SCHEDULES, "another CPU").save(
        fake / "shipped.ubj"
    )
    assert run(programs_at_most=8).model.regressor.prior is not None
    (fake / "journal").unlink()
    assert run(programs_at_most=8, prior=False).model.regressor.prior is None
