import pytest
import torch
from torch import nn

from bnn_compiler import target as targets
from bnn_compiler.cost.pick import Schedules
from bnn_compiler.errors import UnsupportedError
from bnn_compiler.kernels.task import PlainTask, Task
from bnn_compiler.network import Network
from bnn_compiler.nn import BinaryConv2d, Sign
from bnn_compiler.ops.storage import Storage
from bnn_compiler.options import Options
from bnn_compiler.plan import plan, realize
from bnn_compiler.tune.network import Subject
from tests.network import Applied, fused, image

TARGET = targets.load("x86-64-v3")


def network():
    """Two equal binary layers, a depthwise one, pools."""
    binary = [
        layer
        for _ in range(2)
        for layer in (Sign(), BinaryConv2d(32, 32, 3, padding=1), nn.BatchNorm2d(32))
    ]
    return nn.Sequential(
        nn.Conv2d(3, 32, 3, padding=1),
        nn.MaxPool2d(2),
        *binary,
        nn.Conv2d(32, 32, 3, padding=1, groups=32),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(32, 10),
    ).eval()


@pytest.fixture(scope="module")
def planned():
    return plan.plan(fused(network(), image(3, 8)))


def test_every_kernel_has_a_task(planned):
    plain = [t.op for t in planned.tasks if isinstance(t, PlainTask)]
    assert {"to_nhwc", "max_pool2d", "global_mean"} <= set(plain)
    assert sum(planned.tasks.values()) == len(planned.calls)
    storages = [t.work.x.storage for t in planned.tasks if isinstance(t, Task)]
    assert Storage.BITS in storages and Storage.FLOAT32 in storages


def test_a_plan_is_the_same_for_any_schedules(planned):
    """Realized twice, with the same steps; equal tasks share a kernel."""
    program, functions = realize.realize(planned, Schedules(TARGET), "net")
    again, same = realize.realize(planned, Schedules(TARGET), "net")
    assert [s.kernel for s in program.steps] == [s.kernel for s in again.steps]
    assert program.weights == again.weights and functions.keys() == same.keys()
    shared = {
        s.kernel for s, c in zip(program.steps, planned.calls, strict=True) if c.op == "conv2d"
    }
    binary = [t for t in planned.tasks if isinstance(t, Task) and t.work.is_binary]
    assert len(shared) <= 2 and len(binary) == len(shared)
    other, _ = realize.realize(planned, Schedules(targets.load("x86-64-v4")), "net")
    assert [s.name for s in other.steps] == [s.name for s in program.steps]
    assert other.workspace == program.workspace


def test_what_has_one_schedule_is_not_tuned(planned):
    tasks = Subject.of(network(), (image(3, 8),), target=TARGET.name).tasks()
    assert set(tasks) < set(planned.tasks)
    assert all(planned.tasks[task] == times for task, times in tasks.items())
    program, _ = realize.realize(planned, Schedules(TARGET), "net")
    steps = dict(zip((c.task for c in planned.calls), program.steps, strict=True))
    for task, step in steps.items():
        assert (task in tasks) == (step.schedule["source"] != "fixed")
        assert (step.macs > 0) == isinstance(task, Task)


def test_planning_builds_no_kernel(monkeypatch):
    def refuse(*_):
        raise AssertionError("a kernel was built")

    monkeypatch.setattr("tvm.te.create_prim_func", refuse)
    assert Subject.of(network(), (image(3, 8),), target=TARGET.name).tasks()


def test_one_sign_padded_with_two_values_is_refused():
    zeros, ones = (BinaryConv2d(32, 32, 3, padding=1) for _ in range(2))

    def both(x, first, second):
        signs = torch.sign(x)
        padded = nn.functional.pad(signs, (1, 1, 1, 1), value=1.0)
        return first(signs) + nn.functional.conv2d(padded, torch.sign(second.weight))

    graph = Network.of(Applied(both, zeros, ones).eval(), (image(32),)).fused(Options())
    with pytest.raises(UnsupportedError, match="pad it with different values; give each its own"):
        plan.plan(graph)
