"""A real search, of few trials, on this machine."""

import signal

import pytest

from bnn_compiler import families
from bnn_compiler import target as targets
from bnn_compiler.cost import records
from bnn_compiler.device.measure import Here
from bnn_compiler.errors import InputError, ScheduleError
from bnn_compiler.tune import strategy, tuner
from bnn_compiler.tune.journal import Journal
from bnn_compiler.tune.network import Subject, tune_network
from tests.kernels import kernel


@pytest.fixture
def device(every_target):
    return targets.load(every_target[-1])


TASKS = {kernel.task(32, 8, 32): 2, kernel.task(3, 8, 32, dtype="float32"): 1}


def tune(device, folder, trials=3, **options):
    paths = {"journal": folder / "j.jsonl", "schedules": folder / "s.jsonl"}
    return tuner.tune(TASKS, device, trials=trials, **paths, **options)


def test_search_resume_and_records(device, tmp_path):
    states = []
    report = tune(device, tmp_path, tell=states.append)
    assert states and states[-1].best <= states[-1].rule
    assert report.failed == 0 and len(report.records) == len(TASKS)
    found = records.read(tmp_path / "s.jsonl")
    for record in found.values():
        assert record.task in TASKS and record.trials >= 3
        assert record.seconds <= record.rule_seconds
        assert (record.float_seconds is not None) == record.task.work.is_binary
        assert record.kernel == families.digest(
            families.function(record.task, record.point), device
        )
    with Journal(tmp_path / "j.jsonl", device) as log:
        before = len(log.trials)
    report = tune(device, tmp_path, trials=4)
    assert report.trials == len(TASKS) * 4, "earlier trials count"
    with Journal(tmp_path / "j.jsonl", device) as log:
        assert len(log.trials) > before
        assert any(t.point == families.rule(t.task, device.hardware) for t in log.trials)


def test_a_second_interrupt_loses_nothing(device, tmp_path):
    def press_twice(state):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        tune(device, tmp_path, tell=press_twice)
    assert records.read(tmp_path / "s.jsonl"), "what had been measured is recorded"


def test_every_trial_is_on_disk_as_it_ends(device, tmp_path):
    """Not when its batch does: a kill between two measurements costs one of them."""
    lines = []

    class Watched(Here):
        def measure(self, programs, plan, done):
            def watched(index, outcome):
                done(index, outcome)
                lines.append(len((tmp_path / "j.jsonl").read_bytes().splitlines()))

            super().measure(programs, plan, watched)

    tune(device, tmp_path, machine=Watched())
    assert lines[:6] == [1, 2, 3, 4, 5, 6]


def test_a_resumed_search_measures_the_rule_again(device, tmp_path):
    """What other schedules compute is compared with it, also in another process."""
    tune(device, tmp_path)
    with Journal(tmp_path / "j.jsonl", device) as log:
        search = strategy.Search(log, device, trials=48)
        for task in TASKS:
            one = strategy.TaskSearch(search, task)
            first, *others = one.next(3)
            assert first == one.rule and first in one.measured()
            assert not set(others) & set(one.measured()) and one.rule not in one.next(3)


def test_no_time_is_one_clear_error(device, tmp_path):
    with pytest.raises(ScheduleError, match="no time left"):
        tune(device, tmp_path, seconds=0)
    assert not (tmp_path / "s.jsonl").exists()


def test_a_subject_counts_kernels(small_artifact, device):
    _, model, x = small_artifact
    tasks = Subject.of(model, (x,), target=device.name).tasks()
    assert tasks and all(count >= 1 for count in tasks.values())
    assert {t.work.is_binary for t in tasks} == {True, False}


def test_budgets_are_checked(small_artifact):
    _, model, x = small_artifact
    with pytest.raises(InputError, match="at least one trial"):
        tune_network(Subject.of(model, (x,)), trials=0)
