"""Shipped schedules against the rule: what is told, and what is mended. Nothing is measured."""

from types import SimpleNamespace

import pytest

from benchmarks import shipped
from bnn_compiler import families
from bnn_compiler import target as targets
from bnn_compiler.cost import cpus, records
from bnn_compiler.cost.records import Record
from tests.kernels import kernel


def row(ratio, kernel_="k"):
    return shipped.Compared("t", kernel_, "record", 10 * ratio, 10.0)


def test_the_slower_ones_are_named():
    text = shipped.table([row(0.5), row(1.02), row(1.5, "slow")], {"t": 9}, {"t": 1})
    assert "| t | 9 | 3 | 0.91 | 1.50 | 1 |" in text
    assert text.count(" us, rule ") == 1 and "t: slow, by a record: 15.0 us, rule 10.0" in text
    assert "t: 1 were slower again" in text


@pytest.mark.parametrize(
    ("ratio", "cpu", "changes"), [(1.5, "a", 1), (1.01, "a", 0), (1.5, "b", 0)]
)
def test_what_is_slower_again_on_this_cpu_is_the_rules(ratio, cpu, changes, tmp_path, monkeypatch):
    device, task = targets.load("x86-64-v3"), kernel.task(64, 8, 64)
    rule = families.rule(task, device.hardware)
    point = next(p for p in families.space(task, device.hardware) if p != rule)
    path = tmp_path / "records.jsonl"
    record = Record(task, point, 1e-5, 2e-5, 3, "stale", cpu=cpu)
    records.write(path, {record.key: record})
    monkeypatch.setattr(records, "shipped", lambda _: path)
    monkeypatch.setattr(cpus, "here", lambda: "a")
    monkeypatch.setattr(shipped, "compare", lambda *_: [row(ratio)])
    choice = SimpleNamespace(task=task, point=point)
    assert shipped.mend(tmp_path, device, [choice], 1) == changes
    (found,) = records.read(path).values()
    if not changes:
        assert found == record
        return
    digest = families.digest(families.function(task, rule), device)
    assert (found.point, found.kernel, found.trials) == (rule, digest, 3)
    assert found.seconds == found.rule_seconds == pytest.approx(1e-5)
