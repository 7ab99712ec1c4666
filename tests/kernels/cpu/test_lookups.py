"""Table look-ups in machine code."""

import itertools
import re

import pytest

from bnn_compiler import families
from bnn_compiler import target as targets
from bnn_compiler.kernels.cpu import codegen
from bnn_compiler.kernels.cpu.table import TablePoint
from tests.kernels import kernel

#: The functions that lookups.py imports.
HELPER = r"\bbnn_(rotate|add_after)"


def assembly(target, pixels, vectors, word):
    point = TablePoint(pixels, vectors, word, "channels", 1)
    function = families.function(kernel.task(256, 14, 256), point)
    device = targets.load(target)
    named = codegen.with_strides(function, {}, "layer")
    text = codegen.build({"layer": named}, device).inspect_source("s")
    assert not re.search(HELPER, text), "a helper was not inlined"
    return text


@pytest.mark.parametrize(
    ("target", "pixels", "vectors", "word"),
    [("x86-64-v3", 2, 8, 256), ("x86-64-v4", 2, 16, 512), ("x86-64-v4", 7, 8, 512)],
)
def test_two_shuffles_then_two_sums(target, pixels, vectors, word):
    order = re.findall(r"\bvp(shuf|add)b\b", assembly(target, pixels, vectors, word))
    shuffles = [following for first, following in itertools.pairwise(order) if first == "shuf"]
    assert len(shuffles) >= pixels * vectors
    assert shuffles.count("shuf") >= 0.45 * len(shuffles)


def test_helpers_of_vectors_of_both_lengths_leave_no_symbol():
    device = targets.load("x86-64-v4")
    layers = {"wide": (128, 512), "short": (96, 256)}
    functions = {}
    for name, (outputs, word) in layers.items():
        point = TablePoint(2, outputs // 16, word, "channels", 1)
        one = kernel.task(64, 14, outputs)
        assert point in families.space(one, device.hardware)
        functions[name] = codegen.with_strides(families.function(one, point), {}, name)
    text = codegen.build(functions, device).inspect_source("s")
    assert re.search(r"vpaddb\s.*%zmm", text) and re.search(r"vpaddb\s.*%ymm", text)
    assert not re.search(HELPER, text)


def test_bytes_are_widened_without_shuffles():
    text = assembly("x86-64-v4", 2, 16, 512)
    assert "vpmovzxbw" not in text and "vpinsrb" not in text


def test_short_vectors_rotate_the_row():
    assert "rorxl" in assembly("x86-64-v3", 2, 8, 256)
