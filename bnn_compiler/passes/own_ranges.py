"""own_ranges: layers of a network that was quantised elsewhere, by the scales it came with."""

from collections.abc import Sequence

from tvm import relax

from bnn_compiler.ops import relax_ops as ops
from bnn_compiler.ops.general import Program, Step, primitive
from bnn_compiler.ops.graph import Graph, array, base_name
from bnn_compiler.ops.primitives import Kind
from bnn_compiler.passes.quantize_rest import Range, candidates, has_levels, is_candidate

#: What hands on some of its argument's elements, and no others.
_MOVES = (
    *("relax.permute_dims", "relax.reshape", "relax.nn.max_pool2d"),
    *("relax.bnn.tokens", "relax.bnn.plain", "relax.bnn.tile"),
)
_FAKE = "fake_quantize"


def own_ranges(graph: Graph) -> dict[str, Range]:
    """Of every layer of 8-bit weights that reads at most 256 levels of one scale, by its name.

    conv2d(fake_quantize(x, 1 / s, z, low, high, s), w)  ->  bytes s * (byte - (z - low))
    """
    weights_of = {
        base_name(v.name): array(c.args[1]) for v, c in graph.values.items() if is_candidate(c)
    }
    found = {}
    for layer, x in candidates(graph).items():
        known = _range(graph, x, layer)
        if known is not None and has_levels(weights_of[layer]):
            found[layer] = known
    return found


def _range(graph: Graph, x: relax.Expr, layer: str) -> Range | None:
    value = graph.value(x)
    while value is not None and _is_moved(value):
        value = graph.value(value.args[0])
    params = None if value is None else _levels(value)
    if params is None:
        return None
    _, zero, low, high, scale = params
    byte = zero - low
    # 0 is a byte: padding is.
    if high - low > 255 or not 0 <= byte <= 255:
        return None
    return Range(layer, -byte * scale, (255 - byte) * scale)


def _is_moved(value: relax.Expr) -> bool:
    step = _only_step(value)
    if step is not None:
        # A pad adds another number.
        return primitive(step.op).kind is Kind.MOVE and step.op != "pad"
    return ops.called(value) in _MOVES


def _levels(value: relax.Expr) -> Sequence[float] | None:
    """The numbers of a fake_quantize, on images or on plain values."""
    step = _only_step(value)
    if step is not None:
        return step.params if step.op == _FAKE else None
    if ops.called(value) != "relax.bnn.function" or str(value.attrs["function"]) != _FAKE:
        return None
    return [float(p) for p in value.attrs["params"]]


def _only_step(value: relax.Expr) -> Step | None:
    """That of a program of one step, on one tensor."""
    if ops.called(value) != "relax.bnn.general" or len(value.args) != 1:
        return None
    steps = Program.parse([str(line) for line in value.attrs["program"]]).steps
    return steps[0] if len(steps) == 1 else None
