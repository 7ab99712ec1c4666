import torch
from torch import nn

from bnn_compiler.frontend.pytorch import simplify, trace
from bnn_compiler.frontend.pytorch.trace import interpreter, op_name


class MaskedLeakyClip(nn.Module):
    def forward(self, x):
        low, high = x < -1, x > 1
        a = (0.1 * x - 0.9) * low.type(torch.float32) + x * (1 - low.type(torch.float32))
        return (0.1 * a + 0.9) * high.type(torch.float32) + a * (1 - high.type(torch.float32))


class Jump(nn.Module):
    def forward(self, x):
        low = (x < -1).type(torch.float32)
        return (0.1 * x) * low + x * (1 - low)


def simplified(model, x):
    graph = simplify.simplify(trace.trace(model, (x,)))
    return graph, [op_name(n) for n in graph.graph.nodes]


def test_leaky_clip_is_two_leaky_relus():
    x = torch.linspace(-3, 3, 60).reshape(1, 3, 4, 5)
    graph, names = simplified(MaskedLeakyClip(), x)
    assert names.count("leaky_relu") == 2 and "lt" not in names and "mul" not in names
    (result,) = interpreter(graph).run(x)
    torch.testing.assert_close(result, MaskedLeakyClip()(x), rtol=1e-5, atol=1e-6)


def test_must_not_fire_where_the_pieces_do_not_meet():
    assert "leaky_relu" not in simplified(Jump(), torch.randn(1, 3, 4, 5))[1]
