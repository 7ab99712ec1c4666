"""Kernels of any shape, schedule and epilogue, emulated, give the reference's bits.

Some twenty in the suite; with BNN_CUDA_FULL=1 a thousand, which take half an hour.
"""

import os
import shutil

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bnn_compiler import target as targets
from tests.kernels import kernel
from tests.kernels.cuda import drawn, emulated

#: GPUs of each form of binary products, and what images hold.
KINDS = (
    ("cuda-sm90", "uint32"),
    ("cuda-sm75", "uint32"),
    ("cuda-sm100", "uint32"),
    ("cuda-sm90", "float32"),
    ("cuda-sm90", "int16"),
)
#: Kernels in a library, which is what takes long to make, and libraries.
TOGETHER = 10
LIBRARIES = 100 if os.environ.get("BNN_CUDA_FULL") else 3

one = st.sampled_from(KINDS).flatmap(lambda k: drawn.cases(targets.load(k[0]).gpu, k[1]))


@pytest.mark.skipif(shutil.which("c++") is None, reason="emulation needs a C++ compiler: g++")
@settings(
    max_examples=LIBRARIES, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)
@given(st.lists(one, min_size=TOGETHER, max_size=TOGETHER))
def test_the_references_bits(tmp_path_factory, cases):
    given = [(c.task, c.point, *drawn.values(c)) for c in dict.fromkeys(cases)]
    folder = tmp_path_factory.mktemp("drawn")
    for case, found in zip(given, emulated.run_all(given, folder), strict=True):
        wanted = kernel.expected(case[0], *case[2:])
        for a, b in zip(found, wanted, strict=True):
            assert np.array_equal(a, b, equal_nan=True), (case[0].as_dict(), case[1])
