"""Which words of fragments come two at a time; that they are the right ones is test_mma's."""

import re

import pytest

from bnn_compiler import families
from bnn_compiler import target as targets
from bnn_compiler.kernels.cuda import codegen
from bnn_compiler.kernels.cuda.mma import MmaPoint
from tests.kernels import kernel


@pytest.mark.parametrize(
    ("channels", "size", "pairs"),
    [
        # Two words of a tap, 18 of 24: both are there or both are not.
        (64, 3, "bnn_load2_if"),
        # Four words of one tap, all steps whole.
        (256, 1, "bnn_load2"),
        # Three words of a tap: every other pair begins at an odd one.
        (96, 3, ""),
    ],
)
def test_neighbours_come_together(channels, size, pairs):
    one = kernel.task(channels, 4, 32, kernel=size, pad=size // 2)
    functions = {"kernel": families.function(one, MmaPoint("and", 1, 4))}
    text, _ = codegen.kernels(functions, targets.load("cuda-sm90").tvm)
    called = re.findall(r"(bnn_load2\w*)\([^;]*signs_warp", text)
    alone = re.findall(r"signs_warp\w*\[\d+\] = ", text)
    assert set(called) == ({pairs} if pairs else set())
    assert bool(alone) == (not pairs)
    assert len(re.findall(r"bnn_load2\(weights_warp", text)) == 4
