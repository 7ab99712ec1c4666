"""The float form that a binary layer is compared with is the one it would get."""

import numpy as np
import pytest

from bnn_compiler import families
from bnn_compiler import target as targets
from bnn_compiler.cost import model, records
from bnn_compiler.target import Target
from bnn_compiler.tune import float_times, tuner
from tests.kernels import kernel

NAMES = ("x86-64-v3", "x86-64-v4", "x86-avx512-vpopcnt")


@pytest.fixture
def v3() -> Target:
    return targets.load("x86-64-v3")


def test_a_depthwise_layer_has_the_kernel_that_mixes_no_channels(v3):
    form = kernel.task(64, 8, 64, groups=64).as_float()
    learnt = model.load(model.beside(records.shipped(v3), "znver4"), v3.hardware)
    for known in (None, learnt):
        assert [p.family for p in float_times.float_points(form, known, v3)] == ["depthwise"]


def test_other_layers_have_the_rule_and_what_the_model_likes(v3):
    learnt = model.load(model.beside(records.shipped(v3), "znver4"), v3.hardware)
    assert learnt is not None
    for groups in (1, 4, 32):
        form = kernel.task(64, 8, 64, groups=groups).as_float()
        rule = families.rule(form, v3.hardware)
        assert float_times.float_points(form, None, v3) == [rule]
        found = float_times.float_points(form, learnt, v3)
        assert set(found) == {rule, learnt.best(form)} and len(found) == len(set(found))


def test_the_depthwise_family_computes_the_convolution(every_target, tmp_path):
    device = targets.load(every_target[-1])
    form = kernel.task(40, 6, 40, groups=40).as_float()
    (point,) = families.space(form, device.hardware)
    given = kernel.inputs(form)
    found = kernel.run(form, point, device, tmp_path, *given)
    for ours, right in zip(found, kernel.expected(form, *given), strict=True):
        assert np.array_equal(ours, right)


def test_a_depthwise_search_times_it(every_target, tmp_path):
    task = kernel.task(32, 6, 32, groups=32)
    report = tuner.tune(
        {task: 1},
        targets.load(every_target[-1]),
        journal=tmp_path / "j.jsonl",
        schedules=tmp_path / "s.jsonl",
        trials=1,
    )
    assert [r.float_seconds is not None for r in report.records] == [True]


@pytest.mark.parametrize("name", NAMES)
def test_no_shipped_record_compares_a_depthwise_layer_with_a_merged_kernel(name):
    """Those times were not of the kernel that a float layer would get."""
    for record in records.read(records.shipped(targets.load(name))).values():
        work = record.task.work
        if work.groups == work.x.shape[3] == work.shape[3] > 1:
            assert record.float_seconds is None
