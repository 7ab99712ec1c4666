"""Programs as text."""

import numpy as np
import pytest

from bnn_compiler.ops.general import Program, Step, primitive

LINES = ["sub(a0,a1)", "exp(t0)", "sum(t1;[1])", "clip(t2;-1.0,Infinity)"]


def test_text_and_back():
    program = Program.parse(LINES)
    assert program.lines == LINES and program.result == "t3"
    assert program.steps[2] == Step("sum", ("t1",), ((1,),))


def test_shapes_and_values():
    program = Program.parse(LINES)
    x, y = np.ones((2, 3), np.float32), np.zeros(3, np.float32)
    assert program.shapes([x.shape, y.shape])["t1"] == (2, 3)
    assert program.shape([x.shape, y.shape]) == (2,)
    np.testing.assert_allclose(program.evaluate([x, y]), 3 * np.e, rtol=1e-6)


def test_steps_behind_others():
    steps = Program.parse(LINES[:2]).renamed({"a0": "t4", "a1": "a0"}, 5)
    assert [str(s) for s in steps] == ["sub(t4,a0)", "exp(t5)"]


def test_what_is_no_step_is_an_error():
    with pytest.raises(ValueError, match="no step"):
        Step.parse("add a0")
    with pytest.raises(KeyError):
        primitive("unknown")
