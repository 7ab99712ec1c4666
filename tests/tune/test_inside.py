"""What kernels take inside their network."""

import torch

from bnn_compiler.tune.inside import seconds_inside
from bnn_compiler.tune.network import Subject
from tests.test_cli import tiny


def test_every_tuned_kernel_of_both_forms_has_a_time(tmp_path):
    schedules = tmp_path / "mine.jsonl"
    schedules.touch()
    subject = Subject.of(
        tiny(),
        (torch.randn(1, 3, 6, 6),),
        target="x86-64-v3",
        schedules=schedules,
        float_layers=(),
        also_float=True,
    )
    found = seconds_inside(subject)
    assert {task.key for task in subject.tasks()} <= set(found)
    assert all(0 < seconds < 1 for seconds in found.values())
