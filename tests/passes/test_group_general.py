"""Programs that feed each other become one kernel, and mean the same."""

import torch

from bnn_compiler.ops import relax_ops as ops
from bnn_compiler.ops.general import Program
from bnn_compiler.passes.group_general import GroupGeneral, one_nest
from tests.network import Applied, after, assert_agrees, image


def programs(graph):
    return [
        [str(line) for line in v.attrs["program"]]
        for v in graph.values.values()
        if ops.is_op(v, "relax.bnn.general")
    ]


def test_a_softmax_is_three_kernels():
    graph = after(Applied(lambda x: torch.softmax(x, 1)), torch.randn(2, 5, 3, 4), GroupGeneral())
    found = programs(graph)
    assert len(found) <= 4
    assert all(one_nest(Program.parse(p), [(2, 5, 3, 4)] * 4) for p in found if "t" in p[-1])
    assert_agrees(Applied(lambda x: torch.softmax(x, 1)), image(4))


def test_moves_are_computed_where_they_are_read():
    def moved(x):
        n, c, h, w = x.shape
        y = x.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)
        return (y[:, :, ::2] * 2).flatten(1)

    graph = after(Applied(moved), image(4), GroupGeneral())
    assert len(programs(graph)) == 1


def test_two_reductions_are_two_kernels():
    program = Program.parse(["sum(a0;[1])", "reduce_max(t0;[0])"])
    assert not one_nest(program, [(3, 4)])
    assert one_nest(Program.parse(["sum(a0;[1])", "exp(t0)"]), [(3, 4)])
