"""own_ranges: layers of a network that was quantised elsewhere, by the scales it came with."""

from tvm import relax

from bnn_compiler.ops import relax_ops as ops
from bnn_compiler.ops.graph import Graph
from bnn_compiler.passes.quantize_rest import Range, candidates

#: What hands on some of its argument's elements, and no others.
_MOVES = ("relax.permute_dims", "relax.reshape", "relax.nn.max_pool2d")


def own_ranges(graph: Graph) -> dict[str, Range]:
    """Of every layer that reads levels of one scale, at most 256 of them, by its name.

    conv2d(fake_quantize(x, 1 / s, z, low, high, s), w)  ->  bytes s * (byte - (z - low))
    """
    found = {}
    for layer, x in candidates(graph).items():
        known = _range(graph, x, layer)
        if known is not None:
            found[layer] = known
    return found


def _range(graph: Graph, x: relax.Expr, layer: str) -> Range | None:
    value = graph.value(x)
    while value is not None and _is_moved(value):
        value = graph.value(value.args[0])
    if value is None or not ops.is_op(value, "relax.bnn.function"):
        return None
    if str(value.attrs["function"]) != "fake_quantize":
        return None
    _, zero, low, high, scale = (float(p) for p in value.attrs["params"])
    byte = zero - low
    # 0 is a byte: padding is.
    if high - low > 255 or not 0 <= byte <= 255:
        return None
    return Range(layer, -byte * scale, (255 - byte) * scale)


def _is_moved(value: relax.Expr) -> bool:
    if ops.anchor_name(value) == "tokens":
        return True
    return any(ops.is_op(value, name) for name in _MOVES)
