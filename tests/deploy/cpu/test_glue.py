"""While a step runs, the next one's weights are brought into L2."""

import re

import pytest

from bnn_compiler.deploy.cpu import glue
from bnn_compiler.plan.program import Argument, Program, Step


def parts(iterations, size, ahead=512 * 1024):
    """(constant, iterations of a part, lines for each) of the first of two steps."""
    steps = [
        Step("a", "bnn.conv2d", "k", [Argument(weights=0, size=1 << 20)], [], [], iterations),
        Step("b", "bnn.conv2d", "l", [Argument(weights=64, size=size)], [], [], 7),
    ]
    text = glue.source(Program([], [], [], steps, b""), "net", ahead, "00" * 32)
    first, last = re.findall(r"\{call_[kl], p, net_weights( \+ \d+)?, (\d+), (\d+)\}", text)
    assert last == ("", "7", "0")
    return first[0], int(first[1]), int(first[2])


@pytest.mark.parametrize("iterations", [14, 56, 448, 1792])
@pytest.mark.parametrize("size", [64 * 100, 300_000, 4_000_000])
def test_all_of_it_or_as_much_as_there_is_time_for(iterations, size):
    start, part, lines = parts(iterations, size)
    wanted = min(size, 512 * 1024) // 64
    calls = -(-iterations // part)
    assert start == " + 64" and lines <= 24
    assert 0.8 * min(wanted, 24 * calls) <= calls * lines <= wanted


@pytest.mark.parametrize(("iterations", "size", "ahead"), [(1, 300_000, 4096), (56, 63, 4096)])
def test_nothing_for_a_step_without_parts_or_few_weights(iterations, size, ahead):
    assert parts(iterations, size, ahead) == ("", iterations, 0)


def test_tiles_are_configured_around_the_kernels_that_use_them():
    steps = [Step(k, "bnn.conv2d", k, [], [], [], 7, tile_rows=r) for k, r in (("k", 0), ("l", 14))]
    text = glue.source(Program([], [], [], steps, b""), "net", 0, "00" * 32)
    first, last = re.findall(r"case \d: .*?\n    }", text, re.DOTALL)
    assert "bnn_parallel(in_parts, &work, 7)" in first and "bnn_tiles" not in first
    assert "if (bnn_tiles_permit()) return -3;" in last and ", 14};" in last
    assert "bnn_parallel(in_tiles, &work, 7)" in last
    without = glue.source(Program([], [], [], steps[:1], b""), "net", 0, "00" * 32)
    assert "tiles" not in without


def test_nothing_where_it_was_not_measured():
    assert parts(56, 300_000, 0) == ("", 56, 0)
