"""SignBeforePad: padding in front of a sign becomes padding of the signs."""

import tvm
from tvm import relax

from bnn_compiler.ops import relax_ops as ops
from bnn_compiler.ops.graph import Graph, bind, derived, inside


class SignBeforePad:
    """bnn.sign(pad(x, v)) -> pad(bnn.sign(x), sign(v)), which a binary convolution takes in."""

    def __call__(self, module: tvm.IRModule) -> tvm.IRModule:
        graph = Graph.of(module)
        for var, value in list(graph.values.items()):
            if ops.is_op(value, "relax.bnn.sign"):
                _swap(graph, var, value)
        return graph.module()


def _swap(graph: Graph, var: relax.Var, sign: relax.Call) -> None:
    chain: list[tuple[str, list[int], float]] = []
    cursor, pad = sign.args[0], graph.value(sign.args[0])
    zero = int(sign.attrs["zero"])
    while pad is not None and ops.is_op(pad, "relax.nn.pad"):
        fill = float(pad.attrs.pad_value)
        around = 1.0 if fill > 0 else -1.0 if fill < 0 else float(zero)
        chain.append((cursor.name, [int(v) for v in pad.attrs.pad_width], around))
        cursor = pad.args[0]
        pad = graph.value(cursor)
    if not chain:
        return
    top, left = (sum(widths[i] for _, widths, _ in chain) for i in (2, 4))
    value: relax.Expr = ops.call_op("sign", [cursor], zero=zero)
    new = [(bind(value, inside(var.name, top, left)), value)]
    for name, widths, around in reversed(chain):
        value = relax.op.nn.pad(new[-1][0], widths, pad_value=around)
        new.append((bind(value, derived(name, "signs")), value))
    *inner, (_, last) = new
    graph.replace(var, [*inner, (var, last)])
