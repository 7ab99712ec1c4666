"""A batch's activations are asked for before they are needed, each line once."""

import re

import pytest

from bnn_compiler import families
from bnn_compiler import target as targets
from bnn_compiler.kernels.cpu import codegen
from bnn_compiler.kernels.cpu.popcount import PopcountPoint
from tests.kernels import kernel


def prefetches(batch, point, target="x86-64-v3"):
    """(inputs, outputs) in the order of the kernel's prefetches."""
    function = families.function(kernel.task(64, 8, 64, batch=batch), point)
    named = codegen.with_strides(function, {}, "layer")
    text = codegen.build({"layer": named}, targets.load(target)).inspect_source("ll")
    calls = re.findall(r"call void @llvm\.prefetch\.p0\(ptr .+?, i32 (\d), i32 3, i32 1\)", text)
    return calls.count("0"), calls.count("1")


@pytest.mark.parametrize(("pixels", "vectors"), [(4, 2), (1, 4), (1, 1), (8, 1)])
@pytest.mark.parametrize("unroll", [0, 1])
def test_each_line_of_a_tile_once(pixels, vectors, unroll):
    point = PopcountPoint(pixels, vectors, 64, "rows", unroll)
    assert prefetches(3, point) == (pixels * vectors, pixels * vectors)


def test_one_image_stays_in_l2():
    assert prefetches(1, PopcountPoint(4, 2, 64)) == (0, 0)


def test_only_where_it_was_measured():
    assert prefetches(3, PopcountPoint(4, 2, 16), "cortex-a72") == (0, 0)
