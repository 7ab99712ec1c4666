"""Torch modules to Relax and through some passes, for the tests of single passes."""

import torch

from bnn_compiler.frontend import importer, simplify, trace
from bnn_compiler.ops import relax_ops as ops
from bnn_compiler.passes.graph import Graph


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
