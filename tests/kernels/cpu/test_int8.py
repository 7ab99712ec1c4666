"""Convolution of bytes with 8-bit weights: bits, and what LLVM makes of it."""

from dataclasses import replace

import numpy as np
import pytest

from benchmarks import assembly
from bnn_compiler import families
from bnn_compiler import target as targets
from bnn_compiler.kernels.cpu import codegen
from bnn_compiler.ops.epilogue import Epilogue, Output
from tests.kernels import kernel

SHAPES = [
    {"channels": 64, "size": 8, "outputs": 48, "kernel": 1, "pad": 0},
    {"channels": 3, "size": 13, "outputs": 20, "kernel": 7, "stride": 2, "pad": 3},
    {"channels": 1, "size": 9, "outputs": 16, "stride": 2, "pad": (0, 1, 2, 1)},
    {"channels": 20, "size": 7, "outputs": 20, "batch": 2},
    {"channels": 40, "size": 9, "outputs": 40, "groups": 40, "stride": 2},
    {"channels": 24, "size": 9, "outputs": 32, "groups": 4},
    {"channels": 32, "size": 9, "outputs": 32, "dilation": 2, "pad": 2},
]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_every_schedule_is_exact(shape, tmp_path):
    one, device = kernel.task(**shape, dtype="uint8"), targets.load("x86-64-v3")
    space = families.space(one, device.hardware)
    chosen = np.random.default_rng(0).permutation(len(space))[:1]
    given = kernel.inputs(one)
    wanted = kernel.expected(one, *given)
    for i, point in enumerate([families.rule(one, device.hardware), *(space[j] for j in chosen)]):
        folder = tmp_path / str(i)
        folder.mkdir()
        for found, right in zip(
            kernel.run(one, point, device, folder, *given), wanted, strict=True
        ):
            np.testing.assert_array_equal(found, right, err_msg=str(point))


def test_the_largest_sums_are_exact(tmp_path):
    one, device = kernel.task(64, 4, 16, kernel=3, dtype="uint8"), targets.load("x86-64-v3")
    x, (w, scale, bias), operands = kernel.inputs(one)
    x[:], w[:8], w[8:] = 255, 127, -127
    given = x, [w, scale, bias], operands
    point = families.rule(one, device.hardware)
    for found, right in zip(
        kernel.run(one, point, device, tmp_path, *given), kernel.expected(one, *given), strict=True
    ):
        np.testing.assert_array_equal(found, right)


def inner_loop(name, task, instruction):
    device = targets.load(name)
    point = families.rule(task, device.hardware)
    function = codegen.with_strides(families.function(task, point), {}, "kernel")
    text = codegen.build({"kernel": function}, device).inspect_source("s")
    loops = assembly.innermost_loops(text)
    return point, max(loops, key=lambda b: count(b, instruction))


def count(body, name):
    return sum(line.split()[0].startswith(name) for line in body)


@pytest.mark.parametrize(
    ("name", "instruction", "products", "most", "spilled"),
    [
        ("x86-64-v3", "vpmaddwd", 16, 3.3, 0),
        ("x86-64-v4", "vpmaddwd", 32, 2.8, 0),
        ("x86-avx512-vpopcnt", "vpdpbusd", 64, 1.8, 0),
        ("cortex-a76", "sdot", 16, 1.4, 0),
        ("cortex-a53", "smull", 8, 2.6, 0),
        ("cortex-a72", "smull", 8, 2.6, 0),
    ],
)
def test_inner_loops(name, instruction, products, most, spilled):
    """``most`` instructions for each that multiplies ``products``."""
    task = kernel.task(64, 28, 128, dtype="uint8")
    point, body = inner_loop(name, task, instruction)
    counted = count(body, instruction)
    taps = point.pixels * point.lanes * 4
    assert counted * products % taps == 0 and counted * products >= taps
    assert len(body) <= most * counted, body
    assert sum("(%rsp" in line or "[sp" in line for line in body) <= spilled, body


def test_bytes_are_stored_in_vectors():
    plain = kernel.task(64, 8, 32, kernel=1, pad=0, dtype="uint8")
    task = replace(plain, epilogue=Epilogue((), (Output("", -1, 0, 1),)), tensors=(None, None))
    device = targets.load("x86-64-v3")
    function = families.function(task, families.rule(task, device.hardware))
    text = codegen.build(
        {"kernel": codegen.with_strides(function, {}, "kernel")}, device
    ).inspect_source("s")
    assert "vpextrb" not in text and "vpackus" in text
