"""Each primitive in numpy means what torch computes."""

import numpy as np
import pytest
import torch

from bnn_compiler.ops.general import Program
from bnn_compiler.ops.primitives import DTYPES, PRIMITIVES, in_parts

X = np.random.default_rng(0).standard_normal((3, 4, 5)).astype(np.float32)
Y = np.random.default_rng(1).standard_normal((4, 1)).astype(np.float32)

CASES = {
    "number(;2.5)": lambda x, y: torch.tensor(2.5),
    "add(a0,a1)": lambda x, y: x + y,
    "sub(a0,a1)": lambda x, y: x - y,
    "mul(a0,a1)": lambda x, y: x * y,
    "div(a0,a1)": lambda x, y: x / y,
    "max(a0,a1)": torch.maximum,
    "min(a0,a1)": torch.minimum,
    "equal(a0,a0)": lambda x, y: (x == x).float(),
    "less(a0,a1)": lambda x, y: (x < y).float(),
    "less_equal(a0,a1)": lambda x, y: (x <= y).float(),
    "where(a0,a0,a1)": lambda x, y: torch.where(x != 0, x, y),
    "clip(a0;-0.5,0.25)": lambda x, y: x.clamp(-0.5, 0.25),
    "sign(a0;0)": lambda x, y: x.sign(),
    "copy(a0)": lambda x, y: x,
    'load(a2;"int64")': lambda x, y: torch.tensor([4.0, 0.0]),
    'store(a0;"int32")': lambda x, y: x.int(),
    "reshape(a0;[5,12])": lambda x, y: x.reshape(5, 12),
    "expand(a1;[2,4,3])": lambda x, y: y.expand(2, 4, 3),
    "permute(a0;[2,0,1])": lambda x, y: x.permute(2, 0, 1),
    "slice(a0;[1,0,4],[1,2,-2],[2,2,3])": lambda x, y: x[1:, ::2].flip(2)[:, :, ::2],
    "pad(a0;[0,1,0],[2,0,1],7)": lambda x, y: torch.nn.functional.pad(
        x, (0, 1, 1, 0, 0, 2), value=7.0
    ),
    "concat(a0,a0;1)": lambda x, y: torch.cat((x, x), 1),
    "sum(a0;[0,2])": lambda x, y: x.sum((0, 2)),
    "prod(a0;[1])": lambda x, y: x.prod(1),
    "reduce_max(a0;[1,2])": lambda x, y: x.amax((1, 2)),
    "reduce_min(a0;[0])": lambda x, y: x.amin(0),
    "cumsum(a0;1)": lambda x, y: x.cumsum(1),
    "matmul(a0,t0)": lambda x, y: x @ x.transpose(1, 2),
    "take(a0,a2;2)": lambda x, y: x[:, :, [4, 0]],
}
BEFORE = {"matmul(a0,t0)": ("permute(a0;[0,2,1])",)}


@pytest.mark.parametrize("line", CASES)
def test_meanings(line):
    given = [X, Y, np.array([4, 0], np.float32)]
    program = Program.parse([*BEFORE.get(line, ()), line])
    found, wanted = program.evaluate(given), CASES[line](torch.from_numpy(X), torch.from_numpy(Y))
    assert found.shape == tuple(wanted.shape) == program.shape([g.shape for g in given])
    torch.testing.assert_close(torch.from_numpy(np.array(found)), wanted, rtol=1e-6, atol=1e-6)


def test_every_primitive_is_tested():
    assert {line.partition("(")[0] for line in CASES} == set(PRIMITIVES)


@pytest.mark.parametrize("dtype", DTYPES)
def test_stored_is_the_nearest_that_there_is(dtype):
    x = np.array([np.nan, -np.inf, -1.5, 0, 2.75, 300, 2.0**40, np.inf], np.float32)
    found = Program.parse([f'store(a0;"{dtype}")']).evaluate([x])
    low, high = (int(v) for v in DTYPES[dtype])
    if dtype == "bool":
        wanted = [True, True, True, False, True, True, True, True]
    else:
        cut = [-1, 0, 2, 300, 2**40]
        wanted = [low, low, *(min(max(v, low), high) for v in cut), high]
    assert found.dtype == dtype and found.tolist() == wanted


@pytest.mark.parametrize("shape, axes", [((3, 37), (1,)), ((7, 5, 9), (0, 2)), ((2, 33, 1), (1,))])
def test_sums_along_rows_are_sixteen_partial_ones(shape, axes):
    assert in_parts(shape, axes)
    x = np.random.default_rng(2).standard_normal(shape).astype(np.float32)
    found = Program.parse([f"sum(a0;{list(axes)})".replace(" ", "")]).evaluate([x])
    rows = np.moveaxis(x, axes, range(-len(axes), 0)).reshape(*found.shape, -1)
    for at in np.ndindex(found.shape):
        parts = [np.float32(0)] * 16
        for i, term in enumerate(rows[at]):
            parts[i % 16] += term
        for half in (8, 4, 2, 1):
            parts = [a + b for a, b in zip(parts[:half], parts[half:], strict=True)]
        assert parts[0] == found[at]


def test_other_sums_are_in_order():
    for shape, axes in [((3, 31), (1,)), ((40, 3), (0,)), ((40, 1, 3), (0, 1)), ((3, 40), (0,))]:
        assert not in_parts(shape, axes)
    x = np.random.default_rng(2).standard_normal((40, 3)).astype(np.float32)
    total = np.zeros(3, np.float32)
    for row in x:
        total += row
    assert np.array_equal(Program.parse(["sum(a0;[0])"]).evaluate([x]), total)
