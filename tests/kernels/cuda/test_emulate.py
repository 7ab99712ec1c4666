"""Kernels for GPUs, emulated, give the reference's bits."""

import shutil

import numpy as np
import pytest

from bnn_compiler import families
from bnn_compiler import target as targets
from tests.kernels import kernel
from tests.kernels.cuda import emulated
from tests.kernels.test_space import SHAPES

MORE = {
    "float": {**SHAPES["strided"], "dtype": "float32", "channels": 3, "outputs": 51},
    "float groups": {"channels": 24, "size": 8, "outputs": 40, "groups": 8, "dtype": "float32"},
    "depthwise": {"channels": 16, "size": 8, "outputs": 16, "groups": 16, "dtype": "float32"},
    "bytes": {"channels": 3, "size": 9, "outputs": 64, "kernel": 7, "pad": 3, "dtype": "int16"},
}


@pytest.mark.skipif(shutil.which("c++") is None, reason="emulation needs a C++ compiler: g++")
def test_every_family_computes_the_references_bits(tmp_path):
    hardware = targets.load("cuda-sm90").gpu
    cases = []
    for number, shape in enumerate((SHAPES | MORE).values()):
        one = kernel.task(**shape)
        space, rule = families.space(one, hardware), families.rule(one, hardware)
        assert rule in space
        # Other schedules of other shapes are drawn (test_drawn.py).
        point = rule if number % 2 else space[len(space) // 2]
        cases.append((one, point, *kernel.inputs(one)))
    for case, found in zip(cases, emulated.run_all(cases, tmp_path), strict=True):
        wanted = kernel.expected(case[0], *case[2:])
        for a, b in zip(found, wanted, strict=True):
            assert np.array_equal(a, b), (str(case[0]), case[1])
