"""The groups of channels of a traced network: what moves together, by name, and where it occurs."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.fx import Node

from bnn_compiler.frontend.pytorch.trace import TracedGraph
from bnn_compiler.latency.cuts import Cut, is_cut
from bnn_compiler.latency.dims import (
    Dim,
    Kind,
    Layer,
    Point,
    axes,
    find,
    fixed,
    flat,
    holds,
    leaves,
    pin,
    size,
)
from bnn_compiler.latency.rules import Analysis


@dataclass(frozen=True)
class Groups:
    """``sizes`` of the full network by name, in the order in which the network makes them.

    ``values`` are the dimensions of each node's tensor, ``layers`` the convolutions and linear
    layers in order. A group is named after the module that makes it: "blocks.3.conv3".
    A ``Point`` has the groups' counts, the batch, and then the groups of each convolution that
    has a ``position``. ``full`` is the network itself; ``any_batch`` if its batch can change.
    ``cuts`` are the shortcuts between untied channels.
    """

    traced: TracedGraph
    sizes: dict[str, int]
    values: dict[Node, object]
    layers: tuple[Layer, ...]
    full: Point
    any_batch: bool
    cuts: dict[Node, Cut]

    @staticmethod
    def of(traced: TracedGraph, cuts: Callable[[Node], bool] = is_cut) -> "Groups":
        """Group the dimensions of a traced network, whose batch is at least 2.

        Channels on both sides of ``cuts`` are not tied.

        What cannot be followed is fixed: an image's channels, the outputs, and whatever an
        operator without a rule touches.
        """
        batch = Dim(traced.inputs[0].shape[0], Kind.BATCH)
        analysis = _analysed(traced, batch, cuts)
        if any(holds(d, batch) for n in analysis.parameters() for d in analysis.of(n) or ()):
            pin(batch)
        sizes = _named(analysis)
        counts = list(sizes.values())
        any_batch = batch.size > 1 and find(batch).kind is Kind.BATCH
        find(batch).position = len(counts)
        counts.append(batch.size)
        for layer in analysis.layers:
            # Outputs that a reshape splits stay in the groups that they are in.
            if layer.convolution and not layer.depthwise and len(axes(layer.outputs)) <= 1:
                layer.position = len(counts)
                counts.append(layer.groups)
        layers = tuple(analysis.layers)
        full = tuple(counts)
        return Groups(traced, sizes, analysis.values, layers, full, any_batch, analysis.cuts)

    @property
    def batch(self) -> int:
        """The position of the batch in a point."""
        return len(self.sizes)

    def inputs(self, point: Point) -> list[tuple[int, ...]]:
        """The shapes of the network's inputs."""
        return [self.shape(n, point) for n in self.values if n.op == "placeholder"]

    def shape(self, node: Node, point: Point) -> tuple[int, ...]:
        """The shape of a node's tensor."""
        dims = self.values[node]
        assert isinstance(dims, list)
        return tuple(size(d, point) for d in dims)


def _analysed(traced: TracedGraph, batch: Dim, cuts: Callable[[Node], bool]) -> Analysis:
    """Every operator's rule applied, in order."""
    analysis = Analysis(cuts)
    for node in traced.graph.nodes:
        if node.op == "placeholder":
            dims = [fixed(int(s)) for s in node.meta["val"].shape]
            if dims and dims[0].size == batch.size:
                dims[0] = batch
            analysis.values[node] = dims
        elif node.op == "get_attr":
            shape = traced.constants[str(node.target)].shape
            analysis.values[node] = [Dim(int(s), constant=True) for s in shape]
        elif node.op == "call_function":
            analysis.call(node)
        elif node.op == "output":
            for result in node.all_input_nodes:
                analysis.pin((analysis.of(result) or ())[1:])
    return analysis


def _named(analysis: Analysis) -> dict[str, int]:
    """Name the free dimensions that layers make, in order; fix all others."""
    sizes: dict[str, int] = {}
    for layer in analysis.layers:
        parts = [p for p in flat(layer.outputs) if p.kind is Kind.FREE and p.position < 0]
        for part in parts if len(parts) == 1 else ():
            # Two layers of one module, and those of none, are told apart by their operators.
            name = layer.path if layer.path and layer.path not in sizes else ""
            name = name or ".".join(filter(None, [layer.path, layer.node]))
            part.position = len(sizes)
            sizes[name] = part.size
    for value in analysis.values.values():
        _pin_unnamed(value)
    return sizes


def _pin_unnamed(dims: object) -> None:
    if isinstance(dims, Dim):
        for leaf in leaves(dims):
            if leaf.position < 0 and leaf.kind is Kind.FREE:
                pin(leaf)
    elif isinstance(dims, list | tuple):
        for d in dims:
            _pin_unnamed(d)


def metadata(shape: tuple[int, ...], like: torch.Tensor) -> torch.Tensor:
    """A tensor without data."""
    return torch.empty(shape, dtype=like.dtype, device="meta")
