"""Operations of programs."""

from bnn_compiler.ops.general import Program, Step
from bnn_compiler.ops.work import is_gather, work


def count(lines, *shapes, apart=1):
    return work(Program.parse(lines), shapes, apart)


def test_what_is_computed_is_counted():
    assert count(["add(a0,a0)"], (3, 5)) == 15
    assert count(["matmul(a0,a1)"], (3, 5), (5, 7)) == 105
    assert count(["sum(a0;[1])"], (3, 5)) == 15
    assert count(["exp(a0)"], (3, 5)) > count(["div(a0,a0)"], (3, 5)) > 15


def test_what_is_computed_anew_is_counted_each_time():
    once = count(["exp(a0)"], (5,))
    assert count(["exp(a0)", "expand(t0;[3,5])"], (5,)) == 15 + 3 * once


def test_gathers():
    shapes = {"a0": (1, 4, 1, 8)}
    gathers = {
        "permute": ((0, 3, 1, 2), (0, 2, 1, 3), (1, 0, 3, 2)),
        "slice": (((0,) * 4, (1, 1, 1, 2), (1, 4, 1, 4)), ((0,) * 4, (1, 2, 1, 1), (1, 2, 1, 8))),
    }
    found = [is_gather(Step("permute", ("a0",), (axes,)), shapes) for axes in gathers["permute"]]
    assert found == [True, False, False]
    assert [is_gather(Step("slice", ("a0",), p), shapes) for p in gathers["slice"]] == [True, False]
    assert is_gather(Step("take", ("a0", "a1"), (3,)), shapes)
    assert not is_gather(Step("take", ("a0", "a1"), (1,)), shapes)
    turned = ["permute(a0;[1,0])"]
    assert count(turned, (3, 5), apart=8) == 8 * count(turned, (3, 5)) == 120
