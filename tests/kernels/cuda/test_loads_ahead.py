"""Which loads of an epilogue come ahead; emulated kernels show that they are the right ones."""

# mypy: ignore-errors
import re

import tvm
from tvm.script import tirx as T

from bnn_compiler import target as targets
from bnn_compiler.kernels.cuda import codegen
from bnn_compiler.kernels.cuda.loads_ahead import loads_ahead
from tests.kernels.cuda.test_early import functions  # noqa: F401


def ahead(function, made):
    """The function's text, with parameters ``made`` by other kernels."""
    named = function.with_attr("global_symbol", "k_kernel")
    changed = loads_ahead({"k": made})(tvm.IRModule({"k_kernel": named}))
    return changed["k_kernel"].script()


@T.prim_func
def rows(p0: T.Buffer((64,), "float32"), p1: T.Buffer((64,), "float32")):
    for i, j in T.grid(4, 6):
        if i < 3:
            p1[i * 6 + j] = p0[i * 6 + j] * p0[j]


@T.prim_func
def inner(
    p0: T.Buffer((64,), "float32"), p1: T.Buffer((64,), "float32"), p2: T.Buffer((64,), "int32")
):
    for i in range(8):
        for j in range(8):
            p1[j] = p0[p2[i]]
        p1[i] = p0[i]


def test_some_iterations_at_a_time_under_their_conditions():
    text = ahead(rows, {0})
    # 24 iterations of two loads: 3 at a time, as 3 divides 6.
    assert "for turn in range(8)" in text and text.count("in T.unroll(3)") == 2
    assert text.count("T.if_then_else") == 2 and "< 3" in text
    first, second = text.split("for late in")
    assert "p0[" in first and "p0[" not in second
    assert re.search(r"p1\[.*\] = ahead0\w*\[late\] \* ahead1\w*\[late\]", second), second


def test_what_is_constant_or_known_too_late_stays():
    assert "ahead" not in ahead(rows, ())
    text = ahead(inner, {0})
    # Of an index in memory nothing is known ahead; the other load is of eight iterations.
    assert text.count("in T.unroll(8)") == 2
    first, second = text.split("for late in")
    assert "p2[" not in first and "p0[p2[" in second.replace(" ", "")
    # The index itself comes ahead, if it is what another kernel made.
    first, second = ahead(inner, {2}).split("for late in")
    assert "p2[" in first and re.search(r"p0\[ahead0\w*\[late\]\]", second)


def test_shortcuts_are_loaded_before_the_first_is_needed(functions):  # noqa: F811
    text, _ = codegen.kernels(functions, targets.load("cuda-sm90").tvm)
    (body,) = (k for k in text.split('extern "C"') if "_conv2d_" in k and "ahead0_ptr" in k)
    assert "ahead1_ptr" not in body
    loaded, used = body.split("ahead0_ptr[ahead] = ")
    assert "BNN_MADE" in loaded and "__restrict__" in loaded
    (shortcut,) = re.findall(r"condval\w* = (p\d+)_ptr\[[^;]*ahead[^;]*;", loaded)
    assert f"BNN_MADE {shortcut}_ptr" in loaded and f"{shortcut}_ptr" not in used
    assert used.count("ahead0_ptr[late]") == 1
    # Only lanes that have a channel read: 40 of 64.
    assert re.search(r"if \([^;]*threadIdx[^;]*\) \{\s*condval", loaded)
