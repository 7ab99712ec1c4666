"""The network run on samples by its own framework, and what the inputs of float layers are then."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tvm import relax

from bnn_compiler.errors import InputError
from bnn_compiler.network import Network
from bnn_compiler.ops import relax_ops as ops
from bnn_compiler.ops.epilogue import Epilogue
from bnn_compiler.ops.graph import Graph
from bnn_compiler.options import Options
from bnn_compiler.passes.quantize_rest import Range, candidates, check_names
from bnn_compiler.quantization.histogram import METHODS, Histogram
from bnn_compiler.quantization.samples import Batch, batches

#: The least error of the values themselves; benchmarks/int8_accuracy.py compares accuracies.
DEFAULT_METHOD = "mse"


@dataclass(frozen=True)
class Calibration:
    """The ranges; and of each batch of samples the network's first output in float."""

    ranges: tuple[Range, ...]
    batches: tuple[Batch, ...]
    outputs: tuple[NDArray[Any], ...]


def calibrate(
    network: Network,
    options: Options,
    samples: Any,
    method: str = DEFAULT_METHOD,
    float_layers: Collection[str] = (),
) -> Calibration:
    """Ranges for every layer that can run on bytes, but for ``float_layers``.

    ``samples`` are images as quantization/samples.py takes them. Raises InputError for a method or
    a layer that there is not, for samples that do not fit, and for values that are not finite or
    all the same.
    """
    if method not in METHODS:
        known = ", ".join(map(repr, METHODS))
        raise InputError(f"calibration method {method!r}; known: {known}")
    graph = network.folded(options)
    known_layers = candidates(graph)
    check_names(float_layers, known_layers)
    layers = {n: x for n, x in known_layers.items() if n not in float_layers}
    given = batches(network, options, samples)
    found = {x.name: Histogram() for x in layers.values()}
    outputs = []
    for batch in given:
        normalization = options.normalization
        floats = tuple(normalization.apply(x) if normalization else x for x in batch.inputs)
        seen = network.imported.oracle.observe(floats, {base for base in _wanted(graph, layers)})
        outputs.append(seen.module_outputs[0].value)
        known_values = {name: truth.value for name, truth in seen.values.items()}
        for layer, x in layers.items():
            value = _value(graph, x, known_values, floats)
            if value is None:
                raise InputError(
                    f"layer {layer}: its input is no value of the framework's, so it cannot be"
                    f" calibrated; leave it in float: float_layers=[{layer!r}] (--float {layer})"
                )
            if not np.isfinite(value).all():
                raise InputError(f"layer {layer}: its input has NaNs or infinities on a sample")
            # Of layers that share an input the first one counts.
            if next(n for n, v in layers.items() if v.same_as(x)) == layer:
                found[x.name].add(batch.of_samples(value))
    return Calibration(
        tuple(_range(layer, found[x.name], method) for layer, x in layers.items()),
        tuple(given),
        tuple(outputs),
    )


def _range(layer: str, found: Histogram, method: str) -> Range:
    if found.least == found.most:
        raise InputError(
            f"layer {layer}: its input is {found.least:g} everywhere on these samples; give others,"
            f" or leave it in float: float_layers=[{layer!r}] (--float {layer})"
        )
    low, high = METHODS[method](found)
    return Range(layer, low, high)


def _source(graph: Graph, x: relax.Expr) -> tuple[relax.Expr, list[relax.Call]]:
    """What ``x`` is moved from, and how, last first."""
    moves: list[relax.Call] = []
    value = graph.value(x)
    while value is not None and _moves(value):
        moves.append(value)
        x = value.args[0]
        value = graph.value(x)
    return x, moves


def _moves(value: relax.Expr) -> bool:
    """Whether ``value`` is its argument's elements in another order or shape."""
    if ops.anchor_name(value) == "tokens":
        return ops.epilogue_of(value) == Epilogue()
    return ops.called(value) in ("relax.permute_dims", "relax.reshape")


def _wanted(graph: Graph, layers: Mapping[str, relax.Var]) -> set[str]:
    names = {x.name for x in layers.values()}
    return names | {_source(graph, x)[0].name for x in layers.values()}


def _value(
    graph: Graph, x: relax.Var, known: Mapping[str, NDArray[Any]], inputs: Sequence[NDArray[Any]]
) -> NDArray[Any] | None:
    """The value of ``x`` where it, or what it is moved from, is known."""
    if x.name in known:
        return known[x.name]
    source, moves = _source(graph, x)
    at = [i for i, p in enumerate(graph.params) if p.same_as(source)]
    value = inputs[at[0]] if at else known.get(source.name)
    if value is None:
        return None
    for move in reversed(moves):
        if ops.is_op(move, "relax.permute_dims"):
            value = value.transpose([int(v) for v in move.attrs.axes])
        elif ops.anchor_name(move):
            value = value.reshape(ops.anchor_shape(move))
        else:
            value = value.reshape([int(v) for v in move.args[1].values])
    return value
