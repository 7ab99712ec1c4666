"""Every family computes the reference's bits with any of its schedules."""

import numpy as np
import pytest

from bnn_compiler import families
from bnn_compiler import target as targets
from tests.kernels import kernel

SHAPES = {
    "3x3": {"channels": 64, "size": 8, "outputs": 64},
    "odd channels": {"channels": 33, "size": 7, "outputs": 51},
    "three channels": {"channels": 3, "size": 6, "outputs": 100},
    "one channel": {"channels": 1, "size": 5, "outputs": 33},
    "one pixel": {"channels": 100, "size": 1, "outputs": 64},
    "1x1": {"channels": 256, "size": 4, "outputs": 128, "kernel": 1, "pad": 0},
    "strided": {"channels": 96, "size": 9, "outputs": 64, "stride": 2},
    "groups": {"channels": 64, "size": 6, "outputs": 64, "groups": 2},
    "masked groups": {"channels": 48, "size": 6, "outputs": 48, "groups": 16},
    "batch of three": {"channels": 64, "size": 4, "outputs": 32, "batch": 3},
    "wide": {"channels": 512, "size": 3, "outputs": 64},
    "padded by +1": {"channels": 64, "size": 6, "outputs": 64, "pad_value": 1},
    "padded by -1": {"channels": 40, "size": 6, "outputs": 64, "pad_value": -1},
    "dilated": {"channels": 64, "size": 8, "outputs": 64, "pad": 2, "dilation": 2},
    "unequal padding": {"channels": 64, "size": 7, "outputs": 64, "pad": (0, 2, 1, 0)},
    "dilated, unequal, +1": {
        "channels": 64,
        "size": 7,
        "outputs": 32,
        "pad": (2, 0, 1, 3),
        "dilation": 2,
        "pad_value": 1,
    },
}


def check(one, device, folder, count):
    space = families.space(one, device.hardware)
    chosen = np.random.default_rng(0).permutation(len(space))[:count]
    x, weights, operands = kernel.inputs(one)
    wanted = kernel.expected(one, x, weights, operands)
    rule = families.rule(one, device.hardware)
    assert rule in space
    for number, point in enumerate([rule, *(space[i] for i in chosen)]):
        part = folder / str(number)
        part.mkdir()
        found = kernel.run(one, point, device, part, x, weights, operands)
        for a, b in zip(found, wanted, strict=True):
            assert np.array_equal(a, b), (str(one), point, np.count_nonzero(a != b))


@pytest.mark.parametrize("shape", SHAPES, ids=list(SHAPES))
def test_binary(shape, every_target, tmp_path):
    for name in every_target:
        folder = tmp_path / name
        folder.mkdir()
        check(kernel.task(**SHAPES[shape]), targets.load(name), folder, 4)


def test_a_batch_has_the_schedules_of_one_image(every_target):
    for name in every_target:
        hardware = targets.load(name).hardware
        for shape in SHAPES.values():
            batch = kernel.task(**{**shape, "batch": 5})
            assert batch.of_batch(1) == kernel.task(**{**shape, "batch": 1})
            assert families.space(batch, hardware) == families.space(batch.of_batch(1), hardware)


def test_every_family_is_reached():
    one = kernel.task(64, 8, 64)
    by_target = {
        name: {p.family for p in families.space(one, targets.load(name).hardware)}
        for name in ("x86-64-v3", "x86-64-v4", "x86-avx512-vpopcnt")
    }
    assert by_target["x86-64-v3"] == by_target["x86-64-v4"] == {"popcount", "table"}
    assert by_target["x86-avx512-vpopcnt"] == {"popcount"}


@pytest.mark.parametrize("dtype", ["float32", "int16"])
@pytest.mark.parametrize("outputs", [64, 51])
def test_first_layers(dtype, outputs, every_target, tmp_path):
    one = kernel.task(3, 14, outputs, kernel=7, stride=2, pad=3, dtype=dtype)
    for name in every_target:
        folder = tmp_path / name
        folder.mkdir()
        check(one, targets.load(name), folder, 3)
