"""Tasks that are equal on whole words and vectors compute the same, by the same schedules."""

import random

import pytest

from bnn_compiler import families
from bnn_compiler import target as targets
from bnn_compiler.cost.pick import Schedules
from tests.kernels import kernel

NAMES = ("x86-64-v3", "x86-64-v4", "x86-avx512-vpopcnt", "x86-amx", "cortex-a72")


@pytest.mark.parametrize("name", NAMES)
def test_a_whole_task_has_the_schedules_of_each(name):
    target, r = targets.load(name), random.Random(name)
    hardware, schedules = target.hardware, Schedules(target)
    for _ in range(12):
        task = kernel.task(r.randint(1, 300), r.choice((7, 8, 14)), r.randint(1, 300))
        whole = task.whole()
        assert whole.whole() == whole
        assert families.space(task, hardware) == families.space(whole, hardware)
        assert schedules.pick(task).point == schedules.pick(whole).point


def test_bits_fill_words_and_results_vectors():
    whole = kernel.task(33, 8, 17).whole()
    assert (whole.work.x.shape[3], whole.work.shape[3]) == (64, 32)
    assert kernel.task(64, 8, 32).whole() == kernel.task(64, 8, 32)


def test_groups_are_left_as_they_are():
    task = kernel.task(40, 8, 40, groups=4)
    assert task.whole() == task
