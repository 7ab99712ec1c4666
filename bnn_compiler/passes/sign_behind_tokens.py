"""SignBehindTokens: signs whose rows are counted in another way are signs of such rows."""

import tvm
from tvm import relax

from bnn_compiler.ops import relax_ops as ops
from bnn_compiler.ops.graph import Graph, bind, derived


class SignBehindTokens:
    """tokens(affine(sign(x))) -> affine(sign(tokens(x))), so that a layer finds its signs.

    s = bnn.sign(x)                      y = bnn.tokens(x)
    t = bnn.tokens(s)           ->       t = bnn.sign(y)
    """

    def __call__(self, module: tvm.IRModule) -> tvm.IRModule:
        graph = Graph.of(module)
        for var, value in list(graph.values.items()):
            if ops.anchor_name(value) == "tokens":
                _swap(graph, var, value)
        return graph.module()


def _swap(graph: Graph, var: relax.Var, call: relax.Call) -> None:
    chain: list[tuple[relax.Var, relax.Call]] = []
    cursor, shape = call.args[0], [int(v) for v in call.attrs["shape"]]
    while (value := graph.value(cursor)) is not None:
        name = ops.bnn_name(value)
        if name not in ("affine", "sign"):
            break
        chain.append((cursor, value))
        cursor = value.args[0]
        if name == "sign":
            break
    if not chain or not ops.is_op(chain[-1][1], "relax.bnn.sign"):
        return
    last: relax.Expr = ops.anchor("tokens", [cursor], shape=shape)
    new = [(bind(last, derived(var.name, "rows")), last)]
    for old, value in reversed(chain):
        last = relax.Call(value.op, [new[-1][0], *value.args[1:]], value.attrs, value.ty_args)
        # Nobody else's sign keeps its name, by which it is compared.
        name = old.name if graph.only_user(old) is not None else derived(old.name, "rows")
        new.append((bind(last, name), last))
    graph.replace(var, [*new, (var, new[-1][0])])
