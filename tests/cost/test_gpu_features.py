"""What the cost model is told of schedules for GPUs."""

import numpy as np
import pytest

from bnn_compiler import families
from bnn_compiler import target as targets
from bnn_compiler.cost import gpu_features
from bnn_compiler.cost.model import CostModel, Sample, cross_validate, load
from tests.kernels import kernel

TASKS = [
    kernel.task(64, 14, 64),
    kernel.task(64, 14, 64, batch=16),
    kernel.task(128, 7, 128),
    kernel.task(48, 6, 48, groups=16),
    kernel.task(3, 12, 32, kernel=7, stride=2, pad=3, dtype="float32"),
    kernel.task(3, 12, 32, dtype="int16"),
]


@pytest.mark.parametrize("name", targets.names("cuda"))
def test_every_schedule_has_finite_features(name):
    gpu = targets.load(name).gpu
    spaces = [(t, families.space(t, gpu)) for t in TASKS]
    found, rough = gpu_features.analyse(spaces, gpu)
    assert found.shape == (sum(len(s) for _, s in spaces), len(gpu_features.NAMES))
    assert np.isfinite(found).all() and (rough > 0).all()
    # Schedules of a task are told apart.
    rows = iter(found)
    for _, points in spaces:
        assert len({next(rows).tobytes() for _ in points}) == len(points)


def layer(channels, side, batch):
    return kernel.task(channels, side, channels, batch=batch)


def rough(task, **wanted):
    """The least rough time of the schedules of tensor cores that have these fields."""
    gpu = targets.load("cuda-sm90").gpu
    points = [
        p
        for p in families.space(task, gpu)
        if p.family == "mma" and all(getattr(p, k) == v for k, v in wanted.items())
    ]
    return gpu_features.analyse([(task, points)], gpu)[1].min()


def test_rough_times_are_those_that_were_measured():
    """On an H100, by hand-written kernels: microseconds of a layer, and what splitting does."""
    measured = {
        (64, 56, 1): 3.1,
        (128, 28, 1): 2.9,
        (256, 14, 1): 3.0,
        (512, 7, 1): 3.9,
        (64, 56, 64): 46.6,
        (128, 28, 64): 27.0,
        (256, 14, 64): 12.8,
        (512, 7, 64): 10.4,
    }
    for shape, microseconds in measured.items():
        assert 0.4 < rough(layer(*shape)) * 1e6 / microseconds < 2.5, shape
    # 512 channels of 49 pixels take 6.9 us unless K is split, if each step waits for its loads.
    assert rough(layer(512, 7, 1), splits=1, stages=0) > 1.5 * rough(layer(512, 7, 1))


def test_the_rule_does_what_was_measured():
    """A batch loses 10 to 100 % by splitting K; few pixels gain by it, and by small tiles."""
    gpu = targets.load("cuda-sm90").gpu
    for channels, side in ((64, 56), (128, 28), (256, 14), (512, 7)):
        one, many = (families.rule(layer(channels, side, n), gpu) for n in (1, 64))
        assert many.splits == 1 and many.pixels * many.channels >= one.pixels * one.channels
    assert families.rule(layer(512, 7, 1), gpu).splits > 1


def test_a_model_learns_from_a_gpus_times(tmp_path):
    gpu = targets.load("cuda-sm90").gpu
    samples = []
    for task in TASKS:
        points = families.space(task, gpu)[::7]
        _, times = gpu_features.analyse([(task, points)], gpu)
        # Blocks of few threads are slow here.
        slow = [1 if getattr(p, "warps", 4) > 2 else 3 for p in points]
        samples += [Sample(task, *row) for row in zip(points, times * slow, strict=True)]
    model = CostModel.fit(samples, gpu)
    model.save(tmp_path / "gpu.model.ubj")
    known = load(tmp_path / "gpu.model.ubj", gpu)
    assert known.samples == len(samples)
    assert getattr(known.best(TASKS[1]), "warps", 4) > 2
    assert cross_validate(samples, gpu).rank > 0.5
    # A CPU's model has other features.
    assert load(tmp_path / "gpu.model.ubj", targets.load("x86-64-v3").cpu) is None
