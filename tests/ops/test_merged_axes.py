"""Programs on merged axes compute the same."""

import numpy as np
import pytest

from bnn_compiler.ops.general import Program
from bnn_compiler.ops.merged_axes import merged

VARIANCE = ["sub(a0,a1)", "mul(t0,t0)", "sum(t1;[1,2])", "number(;0.5)", "mul(t2,t3)"]


@pytest.mark.parametrize(
    "lines, shapes, wanted",
    [
        (["sum(a0;[1,2,3])"], [(2, 3, 5, 7)], [(2, 105)]),
        (["prod(a0;[0,1])"], [(5, 7)], [(35,)]),
        (VARIANCE, [(3, 5, 7), (3, 1, 1)], [(3, 35), (3, 1)]),
        (VARIANCE, [(3, 5, 7), (1,)], [(3, 35), (1,)]),
        (VARIANCE, [(3, 5, 7), ()], [(3, 35), ()]),
        (["number(;2)", "mul(a0,t0)", "sum(t1;[1,2])", "add(t2,t0)"], [(3, 5, 7)], [(3, 35)]),
        (["sum(a0;[1,2])", "add(t0,a1)"], [(3, 5, 7), (3,)], [(3, 35), (3,)]),
    ],
)
def test_reduced_axes_become_one(lines, shapes, wanted):
    program = Program.parse(lines)
    new, found = merged(program, shapes)
    assert found == wanted
    rng = np.random.default_rng(0)
    given = [rng.standard_normal(s).astype(np.float32) for s in shapes]
    other = [a.reshape(s) for a, s in zip(given, found, strict=True)]
    assert np.array_equal(new.evaluate(other), program.evaluate(given))
    assert new.shape(found) == program.shape(shapes)


@pytest.mark.parametrize(
    "lines, shapes",
    [
        (["sum(a0;[1])"], [(3, 5)]),
        (["sum(a0;[0,2])"], [(3, 5, 7)]),
        (["sum(a0;[1,2])"], [(3, 5, 7, 2)]),
        # One operand has one of the axes only; one is moved; one is read behind the sum too.
        (["mul(a0,a1)", "sum(t0;[1,2])"], [(3, 5, 7), (7,)]),
        (["permute(a0;[0,2,1])", "sum(t0;[1,2])"], [(3, 5, 7)]),
        (["mul(a0,a1)", "sum(t0;[1,2])", "add(t1,a1)"], [(3, 5, 7), (1,)]),
    ],
)
def test_others_stay(lines, shapes):
    program = Program.parse(lines)
    assert merged(program, shapes) == (program, shapes)
