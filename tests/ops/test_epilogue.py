"""The table of epilogue steps against what else is keyed by their names, and against itself."""

import numpy as np
import pytest

from bnn_compiler.kernels.epilogue import FORMS
from bnn_compiler.ops.epilogue import STEPS, Epilogue, Output, Step
from bnn_compiler.ops.functions import FUNCTIONS

RISING = np.linspace(-3, 3, 25, dtype=np.float32)
#: Per-channel operands with both signs, and zero, in each.
VECTORS = [np.array(v, np.float32) for v in ([-2, 0, 0.5], [1, -1, 0])]


def test_tables_name_the_same_steps():
    assert list(FORMS) == list(STEPS)
    sources = [k.source for k in STEPS.values() if k.source]
    assert len(set(sources)) == len(sources)


@pytest.mark.parametrize("name", STEPS)
def test_text_round_trip(name):
    kind = STEPS[name]
    step = Step(name, tuple(range(3, 3 + kind.operands)), (-1.5, 0.1)[: kind.params])
    assert Step.parse(str(step)) == step
    epilogue = Epilogue((step,), (Output(), Output(">", 7)))
    assert Epilogue.parse(*epilogue.attrs().values()) == epilogue


def test_outputs():
    outputs = (Output(), Output(">=", 2), Output("", -1, 0, 1))
    assert [str(o) for o in outputs] == ["float32", "bits>=:2", "bytes:0:1"]
    assert [o.storage.dtype for o in outputs] == ["float32", "uint32", "uint8"]
    for out in outputs:
        assert Output.parse(str(out)) == out
        assert out.behind(0) == out
    assert [str(o.behind(3)) for o in outputs] == ["float32", "bits>=:5", "bytes:3:4"]


def test_bytes_are_rounded_half_to_even_and_saturate():
    values = np.array([-9, -1, -0.75, -0.25, 0, 0.25, 0.75, 200, 1e9, np.inf, np.nan], np.float32)
    given = np.broadcast_to(values[:, None], (values.size, 2))
    factor, zero = np.array([2, 2], np.float32), np.array([0, 1], np.float32)
    epilogue = Epilogue((), (Output("", -1, 0, 1),))
    (found,) = epilogue.apply(given, [factor, zero])
    assert found.dtype == np.uint8
    assert found[:, 0].tolist() == [0, 0, 0, 0, 0, 0, 2, 255, 255, 255, 0]
    assert found[:, 1].tolist() == [0, 0, 0, 0, 1, 2, 2, 255, 255, 255, 0]


def test_an_unknown_step_is_an_error():
    with pytest.raises(KeyError, match="cosine"):
        Step.parse("cosine:1")


@pytest.mark.parametrize("name", [n for n in STEPS if n not in FUNCTIONS])
def test_a_step_falls_where_it_says(name):
    kind = STEPS[name]
    assert (kind.falls is None) == kind.tensor
    if kind.falls is None:
        return
    operands = [np.abs(v) if name == "prelu" else v for v in VECTORS[: kind.operands]]
    falls = np.broadcast_to(kind.falls(*operands), 3)
    values = np.broadcast_to(RISING[:, None], (25, 3))
    result = kind.meaning(values, *operands, *(-1.0, 0.75)[: kind.params])
    change = np.diff(np.broadcast_to(result, (25, 3)), axis=0)
    assert (change[:, falls] <= 0).all() and (change[:, ~falls] >= 0).all()
    assert (change != 0).any()


def test_prelu_with_a_negative_slope_is_not_monotone():
    falls = STEPS["prelu"].falls
    assert falls(np.array([0.1, -0.1], np.float32)) is None
    assert falls(np.array([0.1, 0.0], np.float32)) is False


def test_outputs_share_the_last_value():
    epilogue = Epilogue((Step("bias", (0,)),), (Output(), Output(">=", 1), Output(">", 1)))
    value = np.array([[0.0, 1.0, 2.0]], np.float32)
    ones, twos = (np.full(3, v, np.float32) for v in (1, 2))
    total, at_least, above = epilogue.apply(value, [ones, twos])
    np.testing.assert_array_equal(total, [[1, 2, 3]])
    np.testing.assert_array_equal(at_least, [[-1, 1, 1]])
    np.testing.assert_array_equal(above, [[-1, -1, 1]])
