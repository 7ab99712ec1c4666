"""Every committed record is not stale; the kernel of a third computes what the rule's computes.

All of them, in minutes: BNN_RECORDS_FULL=1.
"""

import os

import pytest

from bnn_compiler import families
from bnn_compiler import target as targets
from bnn_compiler.cost import records
from bnn_compiler.cost.pick import Schedules
from bnn_compiler.device.measure import run_here
from bnn_compiler.tune import harness
from tests.conftest import runnable

#: Of the records, one in so many is built and run.
EVERY = 1 if os.environ.get("BNN_RECORDS_FULL") else 3


@pytest.mark.parametrize("name", targets.names("llvm"))
def test_no_record_is_slower_than_the_rule_where_it_was_measured(name):
    """On any CPU that has records: each has its own, if that is of another CPU it is weighed."""
    device = targets.load(name)
    shipped = records.read(records.shipped(device)).values()
    for here in {r.cpu for r in shipped}:
        known = Schedules.load(device, cpu=here)
        own = [r for r in shipped if r.cpu == here and r.rule_seconds]
        for record, choice in zip(own, known.pick_all([r.task for r in own]), strict=True):
            assert record.seconds <= record.rule_seconds, record.task
            assert choice.cpu == here and choice.seconds <= record.rule_seconds


@pytest.mark.parametrize("name", runnable(targets.names()))
def test_replay(name, tmp_path):
    device = targets.load(name)
    shipped = records.read(records.shipped(device))
    if not shipped:
        pytest.skip(f"no records of {name} are shipped")
    for number, record in enumerate(shipped.values()):
        task = record.task
        assert record.point in families.space(task, device.hardware)
        function = families.function(task, record.point)
        assert families.digest(function, device) == record.kernel, f"stale: {task}"
        if number % EVERY:
            continue
        outputs = set()
        # Often they are one.
        points = {record.point, families.rule(task, device.hardware)}
        for which, point in enumerate(points):
            stem = tmp_path / f"{number}-{which}"
            built = harness.build(families.function(task, point), task, point, device, stem)
            outputs.add(run_here(built).found.digest)
        assert len(outputs) == 1, f"{task}: {record.point} computes something else"
