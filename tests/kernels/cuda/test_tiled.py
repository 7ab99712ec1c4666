"""Float products from shared memory, emulated, have the bits of the reference."""

import shutil

import numpy as np
import pytest

from bnn_compiler import families
from bnn_compiler import target as targets
from bnn_compiler.kernels.cuda import tiled
from bnn_compiler.kernels.cuda.tiled import Tiled
from tests.kernels import kernel
from tests.kernels.cuda import emulated

SHAPES = {
    "7x7 stem": {"channels": 3, "size": 15, "outputs": 64, "kernel": 7, "stride": 2, "pad": 3},
    "3x3, batch": {"channels": 8, "size": 7, "outputs": 40, "batch": 3},
    "1x1": {"channels": 48, "size": 6, "outputs": 100, "kernel": 1, "pad": 0},
    "a matrix": {"channels": 64, "size": 1, "outputs": 33, "kernel": 1, "pad": 0, "batch": 35},
    "dilated, unequal": {
        "channels": 4,
        "size": 9,
        "outputs": 32,
        "pad": (2, 0, 1, 3),
        "dilation": 2,
    },
    "planes": {"channels": 3, "size": 12, "outputs": 32, "winograd": True},
}


@pytest.fixture(scope="module")
def gpu():
    return targets.load("cuda-sm90").gpu


@pytest.mark.skipif(shutil.which("c++") is None, reason="emulation needs a C++ compiler: g++")
def test_the_references_bits(gpu, tmp_path):
    family, cases = Tiled(), []
    for shape in SHAPES.values():
        one = kernel.task(dtype="float32", **shape)
        points = list(family.points(one, gpu))
        assert family.rule(one, gpu) in points
        largest = max(points, key=lambda p: p.rows * p.columns)
        chosen = dict.fromkeys((family.rule(one, gpu), largest))
        cases += [(one, p, *kernel.inputs(one)) for p in chosen]
    assert {p.columns for _, p, *_ in cases} == {4, 8}
    for case, found in zip(cases, emulated.run_all(cases, tmp_path), strict=True):
        plain = kernel.task(dtype="float32", **SHAPES["planes"] | {"winograd": False})
        # The order of a plain sum, from planes too.
        one = plain if case[0].work.winograd else case[0]
        for a, b in zip(found, kernel.expected(one, *case[2:]), strict=True):
            assert np.array_equal(a, b), (str(case[0]), case[1])


@pytest.mark.parametrize(
    "shape",
    [
        {"channels": 3, "size": 4, "outputs": 64},  # too few pixels
        {"channels": 64, "size": 8, "outputs": 10},  # too few channels
        {"channels": 64, "size": 8, "outputs": 64, "groups": 2},
        {"channels": 67, "size": 8, "outputs": 64, "kernel": 1, "pad": 0},  # no whole steps
    ],
)
def test_what_shares_no_loads_is_summed_by_threads(shape, gpu):
    one = kernel.task(dtype="float32", **shape)
    assert not Tiled().fits(one, gpu) and families.rule(one, gpu).family == "scalar"


@pytest.mark.parametrize(
    ("shape", "step"),
    [
        ({"channels": 3, "kernel": 7, "pad": 3}, 21),
        ({"channels": 3, "kernel": 3}, 27),
        ({"channels": 512, "kernel": 1, "pad": 0}, 64),
        ({"channels": 100, "kernel": 3}, 50),
    ],
)
def test_a_step_is_rows_of_taps_or_parts_of_one(shape, step):
    assert tiled.step(kernel.task(size=16, outputs=64, dtype="float32", **shape)) == step


def test_a_batch_has_larger_tiles(gpu):
    stem = {"channels": 3, "size": 224, "outputs": 64, "kernel": 7, "stride": 2, "pad": 3}
    one, many = (Tiled().rule(kernel.task(dtype="float32", batch=n, **stem), gpu) for n in (1, 64))
    assert one.rows * one.columns < many.rows * many.columns == 64
