import dataclasses
from random import Random

import numpy as np
import pytest
import torch
from torch import nn

from bnn_compiler import target as targets
from bnn_compiler.cost.pick import Schedules
from bnn_compiler.errors import InputError
from bnn_compiler.kernels.task import Task
from bnn_compiler.latency import programs
from bnn_compiler.latency.kernel import Kernel
from bnn_compiler.latency.timing import Subject
from bnn_compiler.latency.variants import Variants
from bnn_compiler.network import Network
from bnn_compiler.nn import BinaryConv2d, RPReLU, RSign
from bnn_compiler.options import Options
from bnn_compiler.plan.plan import plan


class Net(nn.Module):
    """A shortcut ties the first two layers; the third is grouped, the fourth free."""

    def __init__(self, a=24, b=40, groups=4):
        super().__init__()
        self.stem = nn.Conv2d(3, a, 3, 2, 1, bias=False)
        self.sign1, self.sign2, self.sign3 = RSign(a), RSign(a), RSign(a)
        self.one = BinaryConv2d(a, a, 3, padding=1)
        self.two = BinaryConv2d(a, a, 3, padding=1, groups=groups)
        self.three = BinaryConv2d(a, b, 1)
        self.bn1, self.bn2, self.bn3 = nn.BatchNorm2d(a), nn.BatchNorm2d(a), nn.BatchNorm2d(b)
        self.act = RPReLU(b)
        self.pool = nn.MaxPool2d(2)
        self.fc = nn.Linear(b, 10)

    def forward(self, x):
        x = self.stem(x)
        x = x + self.bn1(self.one(self.sign1(x)))
        x = x + self.bn2(self.two(self.sign2(x)))
        x = self.pool(self.act(self.bn3(self.three(self.sign3(x)))))
        return self.fc(x.mean((2, 3)))


def planned(model):
    return plan(Network.of(model.eval(), (torch.zeros(1, 3, 16, 16),)).fused(Options()))


@pytest.fixture(scope="module")
def variants():
    return Variants.of(planned(Net()))


def test_the_full_counts_are_the_network_itself(variants):
    assert variants.kernels({}) == Kernel.of_plan(variants.plan)
    assert sorted(variants.groups.values()) == [24, 40]


def test_other_counts_are_those_of_the_smaller_network(variants):
    by_size = {size: name for name, size in variants.groups.items()}
    grouped = next(c.name for c in variants.plan.calls if c.name.endswith("two"))
    counts = {by_size[24]: 18, by_size[40]: 7, f"{grouped}.groups": 2}
    expected = Kernel.of_plan(planned(Net(18, 7, 2)))
    assert variants.kernels(counts) == expected


def test_draws_are_valid_and_differ(variants):
    random = Random(0)
    drawn = [variants.draw(random) for _ in range(40)]
    assert len({tuple(sorted(d.items())) for d in drawn}) > 30
    assert all(4 <= d[name] <= full for d in drawn for name, full in variants.groups.items())
    works = [k.task.work for d in drawn for k in variants.kernels(d) if isinstance(k.task, Task)]
    assert all(w.x.shape[3] % w.groups == w.shape[3] % w.groups == 0 for w in works)
    assert {w.groups for w in works} > {1, 2, 4, 8}


def test_a_program_of_a_variant_runs(variants):
    kernels = variants.kernels(variants.draw(Random(1)))
    made = programs.substitute(variants.plan, kernels, seed=3)
    artifact = programs.build(made, Schedules.load(targets.native()))
    subject = Subject(artifact)
    assert subject.run() > 0 and (subject.run_steps() > 0).all()
    assert [s.name for s in artifact.description.steps] == [k.name for k in kernels]
    x = np.random.default_rng(0).standard_normal((1, 3, 16, 16)).astype(np.float32)
    assert np.isfinite(artifact.run(x)).all() and artifact.run(x).std() > 0


def test_kernels_of_another_network_are_refused(variants):
    with pytest.raises(InputError, match="not those of the network"):
        programs.substitute(variants.plan, variants.kernels({})[:-1])


def test_the_network_itself_is_not_changed(variants):
    before = [dataclasses.replace(b) for b in variants.plan.buffers]
    programs.substitute(variants.plan, variants.kernels(variants.draw(Random(2))))
    assert variants.plan.buffers == before
