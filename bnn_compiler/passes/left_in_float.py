"""Layers whose weights or inputs are signs and that run in float all the same."""

import numpy as np
from tvm import relax

from bnn_compiler.ops import relax_ops as ops
from bnn_compiler.ops.graph import Graph, constant


def left_in_float(graph: Graph) -> list[str]:
    """One line for each float convolution or linear layer of a fused graph that looks binary.

    Its weights are -s and +s (or 0) per output channel: what is missing is a sign in front of it.
    Or it reads a sign: what is missing are weights of few values.
    """
    lines = []
    for var, value in graph.values.items():
        if ops.anchor_name(value) != "float_conv2d":
            continue
        weights, source = constant(value.args[1]), value.args[0]
        if weights is not None and _are_signs(weights):
            image = _reads_image(graph, source)
            why = "it reads the image" if image else f"its input {source.name} is no sign"
            lines.append(f"{var.name}: weights of two values, but {why}: it runs in float")
        elif weights is not None and _is_sign(graph, source):
            why = "its weights take more than a few values in an output channel"
            lines.append(f"{var.name}: its input is a sign, but {why}: it runs in float")
    return lines


def _are_signs(weights: np.ndarray) -> bool:
    """[O, KH, KW, C]: both signs, and one distance from 0 in each output channel."""
    rows = np.abs(weights.reshape(len(weights), -1))
    if rows.shape[1] < 2 or not ((weights > 0).any() and (weights < 0).any()):
        return False
    distance = rows.max(axis=1, keepdims=True)
    # A scale that is folded into weights is rounded with each of them.
    return bool((np.isclose(rows, distance, rtol=1e-6, atol=0) | (rows == 0)).all())


def _reads_image(graph: Graph, source: relax.Expr) -> bool:
    """Whether it is the image, in another order."""
    value = graph.value(source)
    if value is not None and ops.is_op(value, "relax.permute_dims"):
        source = value.args[0]
    return source in graph.params


def _is_sign(graph: Graph, source: relax.Expr) -> bool:
    """Whether the kernel that computes it ends with a sign."""
    value = graph.value(source)
    if isinstance(value, relax.TupleGetItem):
        value = graph.value(value.tuple_value)
    if value is None or not ops.anchor_name(value):
        return False
    steps = [str(step) for step in value.attrs["epilogue"]]
    return bool(steps) and steps[-1].split(":")[0] == "sign"
