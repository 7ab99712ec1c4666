"""Torch modules to Relax and through some passes, for the tests of single passes."""

import copy

import torch
from torch import nn

from bnn_compiler.frontend import importer, simplify, trace
from bnn_compiler.ops import evaluate
from bnn_compiler.ops import relax_ops as ops
from bnn_compiler.passes import pipeline
from bnn_compiler.passes.graph import Graph


class Function(nn.Module):
    """A network from a function of (x, *layers)."""

    def __init__(self, function, *layers):
        super().__init__()
        self.layers, self.function = nn.ModuleList(layers), function

    def forward(self, x):
        return self.function(x, *self.layers)


def imported(model, x):
    return importer.to_relax(simplify.simplify(trace.trace(model.eval(), (x,))))


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
