"""HalveShortcuts: what layers leave for sums, pools and convolutions behind them is float16."""

from dataclasses import replace

import tvm
from tvm import relax

from bnn_compiler.ops import relax_ops as ops
from bnn_compiler.ops.graph import Graph

#: Anchors that store halves, and those that read them as data.
_WRITERS = ("conv2d", "half_conv2d", "half_image_conv2d", "half_pooled_conv2d", "avg_pool2d")
_READERS = ("avg_pool2d", "global_mean", "half_conv2d")


class HalveShortcuts:
    """A float32 result that only epilogues and such anchors read is stored as halves.

    x = conv2d(...; float32)    y = conv2d(...; add x)  ->  x = conv2d(...; float16)   y = ...
    """

    def __call__(self, module: tvm.IRModule) -> tvm.IRModule:
        graph = Graph.of(module)
        found: dict[relax.Var, list[int]] = {}
        for var, value in graph.values.items():
            if ops.anchor_name(value) not in _WRITERS:
                continue
            results = _results(graph, var, len(ops.epilogue_of(value).outputs))
            for index, result in results.items():
                out = ops.epilogue_of(value).outputs[index]
                if not (out.is_bits or out.is_bytes) and _is_only_read(graph, result):
                    found.setdefault(var, []).append(index)
        for var, indices in found.items():
            _store(graph, var, indices)
        return graph.module()


def _results(graph: Graph, var: relax.Var, count: int) -> dict[int, relax.Var]:
    """The variable of each result that has one."""
    if count == 1:
        return {0: var}
    items = {u: graph.values[u] for u in graph.users(var)}
    return {v.index: u for u, v in items.items() if isinstance(v, relax.TupleGetItem)}


def _is_only_read(graph: Graph, result: relax.Var) -> bool:
    users = graph.users(result)
    return (
        bool(users)
        and result not in graph.outputs
        and all(_reads_halves(graph.values[u], result) for u in users)
    )


def _reads_halves(value: relax.Expr, result: relax.Var) -> bool:
    name = ops.anchor_name(value)
    if not name:
        return False
    data = value.args[: ops.data_count(value)]
    return name in _READERS or not any(a.same_as(result) for a in data)


def _store(graph: Graph, var: relax.Var, indices: list[int]) -> None:
    """Bind ``var`` and its results anew: they have another type."""
    call = graph.values[var]
    epilogue = ops.epilogue_of(call)
    outputs = tuple(
        replace(out, half=True) if i in indices else out for i, out in enumerate(epilogue.outputs)
    )
    count = ops.data_count(call)
    made = ops.anchor(
        ops.anchor_name(call),
        call.args[:count],
        replace(epilogue, outputs=outputs),
        call.args[count:],
        **ops.anchor_attrs(call),
    )
    graph.set(var, made)
