"""Torch modules to Relax and through some passes, for the tests of single passes."""

import copy

import torch
from torch import nn

from bnn_compiler.frontend.pytorch import importer, levels, simplify, trace
from bnn_compiler.network import Network
from bnn_compiler.ops import evaluate
from bnn_compiler.ops import relax_ops as ops
from bnn_compiler.ops.graph import Graph
from bnn_compiler.options import Options
from bnn_compiler.passes import pipeline


class Function(nn.Module):
    """A module from a function of its layers and its inputs."""

    def __init__(self, function, *layers):
        super().__init__()
        self.layers, self.function = nn.ModuleList(layers), function

    def forward(self, *inputs):
        return self.function(self.layers, *inputs)


class Applied(nn.Module):
    """A network from a function of (x, *layers)."""

    def __init__(self, function, *layers):
        super().__init__()
        self.layers, self.function = nn.ModuleList(layers), function

    def forward(self, x):
        return self.function(x, *self.layers)


def fused(model, *inputs):
    """The graph that would be lowered."""
    return Network.of(model.eval(), inputs).fused(Options())


def assert_agrees(model, *inputs):
    """The fused graph, run by the numpy reference, gives PyTorch's numbers; the graph."""
    given = [x.clone() for x in inputs]
    graph = fused(model, *inputs)
    for x, before in zip(inputs, given, strict=True):
        assert torch.equal(x, before), "compiling changed an example input"
    values = evaluate.run(graph, [x.numpy() for x in inputs])
    with torch.no_grad():
        wanted = model(*given)
    several = [wanted] if isinstance(wanted, torch.Tensor) else wanted
    wanted = [t for t in several if t is not None]
    for out, expected in zip(graph.outputs, wanted, strict=True):
        found = torch.as_tensor(values[out])
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    return graph


def imported(model, x):
    return importer.to_relax(simplify.simplify(levels.joined(trace.trace(model.eval(), (x,)))))


def after(model, x, *passes):
    module = imported(model, x)
    for one in passes:
        module = one(module)
    return Graph.of(module)


def names(graph):
    """Operator names in order."""
    return [
        str(v.op.name).removeprefix("relax.") for v in graph.values.values() if hasattr(v, "op")
    ]


def anchors(graph, name):
    return [v for v in graph.values.values() if ops.anchor_name(v) == name]


def image(channels, size=6, batch=1):
    return torch.randn(batch, channels, size, size)


def computed(model, x, **options):
    """(the fused graph, its result by the reference, PyTorch's in float64)."""
    graph = Graph.of(pipeline.run(imported(model, x), **options))
    values = evaluate.run(graph, [x.numpy()])
    with torch.no_grad():
        wanted = copy.deepcopy(model).double()(x.double())
    return graph, values[graph.outputs[0]], wanted.numpy()
