"""Minimal filtering gives the bits of its reference with each of its schedules."""

import numpy as np
import pytest

from bnn_compiler import families
from bnn_compiler import target as targets
from tests.kernels import kernel

SHAPES = {
    "7x7": {"channels": 3, "size": 32, "outputs": 64, "kernel": 7, "pad": 3},
    "5x5": {"channels": 1, "size": 16, "outputs": 24, "kernel": 5, "pad": 2},
    "3x3": {"channels": 3, "size": 12, "outputs": 20, "kernel": 3, "pad": 1},
    "one tile": {"channels": 4, "size": 9, "outputs": 33, "kernel": 7, "pad": 0},
    "batch of three": {"channels": 2, "size": 8, "outputs": 3, "kernel": 7, "pad": 3, "batch": 3},
    "unequal padding": {"channels": 3, "size": 20, "outputs": 16, "kernel": 7, "pad": (5, 3, 0, 3)},
}


@pytest.mark.parametrize("shape", SHAPES, ids=list(SHAPES))
def test_every_schedule(shape, every_target, tmp_path):
    one = kernel.task(**SHAPES[shape], stride=2, dtype="float32", winograd=True)
    x, weights, operands = kernel.inputs(one)
    wanted = kernel.expected(one, x, weights, operands)
    for name in every_target:
        device = targets.load(name)
        space = families.space(one, device.hardware)
        assert families.rule(one, device.hardware) in space
        for number, point in enumerate(space):
            folder = tmp_path / f"{name}-{number}"
            folder.mkdir()
            found = kernel.run(one, point, device, folder, x, weights, operands)
            for a, b in zip(found, wanted, strict=True):
                assert np.array_equal(a, b), (point, np.count_nonzero(a != b))


def test_it_multiplies_less():
    direct, filtered = (
        kernel.task(3, 32, 64, 7, 2, 3, dtype="float32", winograd=w) for w in (False, True)
    )
    assert direct.work.products == direct.work.macs == filtered.work.macs
    assert filtered.work.products * 196 == filtered.work.macs * 81
