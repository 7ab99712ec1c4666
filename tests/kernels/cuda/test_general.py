"""General programs on a GPU, emulated, give the reference's bits."""

import shutil

import numpy as np
import pytest

from bnn_compiler.kernels.cuda import general
from bnn_compiler.kernels.task import PlainTask
from bnn_compiler.ops.functions import FUNCTIONS
from bnn_compiler.ops.general import Program
from bnn_compiler.plan.tasks import dense
from tests.kernels.cuda import emulated
from tests.ops import test_primitives

#: Shapes of arguments, and a program.
CASES = {
    "softmax": ([(7, 37)], ["reduce_max(a0;[1])", "reshape(t0;[7,1])", "sub(a0,t1)", "exp(t2)"]),
    "mean": ([(3, 5, 11)], ["sum(a0;[1,2])", "number(;55)", "div(t0,t1)"]),
    "variance": (
        [(3, 4, 50), (3, 4, 1)],
        ["sub(a0,a1)", "mul(t0,t0)", "sum(t1;[2])", "reshape(t2;[3,4,1])", "rsqrt(t3)"],
    ),
    "of everything": ([(3, 5, 11)], ["sum(a0;[0,1,2])"]),
    "norm": (
        [(2, 257), (2, 1), (257,), (257,)],
        ["sub(a0,a1)", "mul(t0,a2)", "add(t1,a3)", "square(t2)"],
    ),
    "more than a block": ([(331,), (2, 1)], ["mul(a0,a1)", "exp(t0)"]),
    "scores": (
        [(2, 3, 17, 8), (2, 3, 17, 8)],
        ["permute(a1;[0,1,3,2])", "matmul(a0,t0)", "number(;0.25)", "mul(t1,t2)"],
    ),
    "shuffle": (
        [(2, 6, 5)],
        ["reshape(a0;[2,2,3,5])", "permute(t0;[0,2,1,3])", "reshape(t1;[2,6,5])"],
    ),
    "no axis": ([(), ()], ["add(a0,a1)", "exp(t0)"]),
    "running sum of a cut": ([(13, 9)], ["slice(a0;[1,0],[2,1],[6,9])", "cumsum(t0;0)"]),
    "masked": (
        [(5, 40), (5, 40)],
        ["less(a0,a1)", "where(t0,a0,a1)", "pad(t1;[0,1],[1,0],-2.5)", "reduce_min(t2;[0])"],
    ),
}


def task(shapes, lines):
    arguments = tuple(map(tuple, shapes))
    return PlainTask("general", tuple(map(dense, arguments)), parameters=(arguments, tuple(lines)))


def assert_equal(cases, folder):
    """Each (arguments, lines) as a kernel and in numpy."""
    functions = {
        f"k{i}": general.function(task([a.shape for a in given], lines))
        for i, (given, lines) in enumerate(cases)
    }
    loaded = emulated.library(functions, folder)
    for i, (given, lines) in enumerate(cases):
        given = [a.astype(loaded_as(lines).get(f"a{k}", a.dtype)) for k, a in enumerate(given)]
        wanted = np.asarray(Program.parse(lines).evaluate(given))
        found = np.full(wanted.shape, 99, wanted.dtype)
        emulated.call(loaded, f"k{i}", [a.ctypes.data for a in (*given, found)])
        assert np.array_equal(found, wanted, equal_nan=True), lines


def loaded_as(lines):
    """The dtypes of arguments that are no floats."""
    steps = Program.parse(lines).steps
    return {s.operands[0]: s.params[0] for s in steps if s.op == "load"}


@pytest.mark.skipif(shutil.which("c++") is None, reason="emulation needs a C++ compiler: g++")
def test_every_primitive_and_function(tmp_path):
    given = [test_primitives.X, test_primitives.Y, np.array([4, 0], np.float32)]
    primitives = [
        (given, [*test_primitives.BEFORE.get(line, ()), line]) for line in test_primitives.CASES
    ]
    params = {
        name: ",".join(["0.5", "2.0", "0.25", "3.0", "1.5"][: f.params])
        for name, f in FUNCTIONS.items()
    }
    functions = [([np.abs(given[0])], [f"{n}(a0;{p})"]) for n, p in params.items()]
    rng = np.random.default_rng(0)
    programs = [
        ([np.array(rng.standard_normal(s), np.float32) for s in shapes], lines)
        for shapes, lines in CASES.values()
    ]
    assert_equal([*primitives, *functions, *programs], tmp_path)


def test_blocks_have_whole_warps():
    assert general.block_size([3, 5]) == 15
    assert general.block_size([7, 64]) == 64
    assert general.block_size([1, 257]) == 256
    assert general.block_size([331]) == 256
    assert general.block_size([1, 37]) == 37
    assert general.block_size([5, 17, 293]) == 256
