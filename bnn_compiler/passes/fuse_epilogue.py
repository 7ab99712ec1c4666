"""FuseEpilogue: what follows a convolution or pool moves into it, sign bits and shortcuts too."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import tvm
from tvm import relax

from bnn_compiler.ops import relax_ops as ops
from bnn_compiler.ops.epilogue import EXCHANGED, STEPS, Epilogue, Output, Step
from bnn_compiler.ops.functions import LEVELS
from bnn_compiler.ops.graph import Graph, array, base_name, bind, derived
from bnn_compiler.ops.operators import OPERATORS, VARIADIC
from bnn_compiler.ops.window import Window
from bnn_compiler.passes.elementwise import elementwise
from bnn_compiler.passes.fold_affine import is_bytes, is_sign_bits


@dataclass
class Fusion:
    """An anchor under construction: ``end`` is the last value absorbed so far."""

    end: relax.Var
    name: str
    data: list[relax.Expr]
    attrs: dict[str, Any]
    steps: list[Step] = field(default_factory=list)
    operands: list[relax.Expr] = field(default_factory=list)

    def step(self, kind: str, *operands: relax.Expr, params: tuple[float, ...] = ()) -> None:
        """Append a step; its operands get the next indices."""
        first = len(self.operands)
        self.operands += operands
        self.steps.append(Step(kind, tuple(range(first, len(self.operands))), params))


class FuseEpilogue:
    """Every operator becomes an anchor that carries the steps after it and yields float and bits.

        y = bnn.conv2d(b, w)                 t = bnn.conv2d(b, w, s, c, r, z;
        a = bnn.affine(y, s, c)                    epilogue=["affine:0:1", "add:2"],
        o = add(a, r)                   ->         outputs=["float32", "bits>=:3"])
        p = bnn.map(o, z; bits)              o, p = t[0], t[1]

    Binary convolutions choose first, so that a sum of two branches lands in the binary one.
    """

    def __call__(self, module: tvm.IRModule) -> tvm.IRModule:
        graph = Graph.of(module)
        for wanted in (_is_unfused_conv, _is_anchor, _is_elementwise):
            for var in list(graph.values):
                value = graph.values.get(var)
                if value is not None and graph.is_live(var) and wanted(value):
                    _fuse(graph, var, value)
        return graph.module()


def _is_unfused_conv(value: relax.Expr) -> bool:
    return ops.anchor_name(value) == "conv2d" and _is_unfused(value)


def _is_anchor(value: relax.Expr) -> bool:
    return _anchor(value) is not None


def _is_elementwise(value: relax.Expr) -> bool:
    return elementwise(value) is not None or _narrows(value)


def _narrows(value: relax.Expr) -> bool:
    """Whether ``value`` is its argument as bits or bytes: an output of what makes that."""
    return is_sign_bits(value) or is_bytes(value)


def _is_unfused(value: relax.Expr) -> bool:
    """Whether ``value`` calls an anchor that no run of this pass has made."""
    return (
        bool(ops.anchor_name(value))
        and ops.epilogue_of(value) == Epilogue()
        and "layer" not in set(value.attrs.keys())
    )


def _anchor(value: relax.Expr) -> tuple[str, list[relax.Expr], dict[str, Any]] | None:
    """Name, data and attributes of the anchor that ``value`` is or becomes."""
    if _is_unfused(value):
        return ops.anchor_name(value), list(value.args), ops.anchor_attrs(value)
    source = ops.called(value)
    for name, operator in OPERATORS.items():
        if source and operator.source == source:
            several = operator.data == VARIADIC
            data = list(value.args[0].fields if several else value.args[: operator.data])
            shapes = [ops.shape_of(d) for d in data]
            return name, data, operator.attributes(value.attrs, shapes)
    return None


def _start(graph: Graph, var: relax.Var, value: relax.Call) -> Fusion:
    """The fusion that begins at ``var``; attribute ``layer`` keeps its name for reports."""
    layer = base_name(var.name)
    found = _anchor(value)
    if found is not None:
        name, data, attrs = found
        return Fusion(var, name, data, {**attrs, "layer": layer})
    whole = next((a for a in value.args[:2] if _covers(a, var)), value.args[0])
    fusion = Fusion(var, "map", [whole], {"layer": layer})
    _absorb(graph, fusion, var, value, whole)
    return fusion


def _covers(expr: relax.Expr, result: relax.Expr) -> bool:
    """Whether no dimension of ``expr`` is repeated in ``result``."""
    return ops.shape_of(expr) == ops.shape_of(result)


def _absorb(
    graph: Graph, fusion: Fusion, var: relax.Var, value: relax.Expr, into: relax.Expr
) -> bool:
    """Append ``value``, which reads ``into``, to the fusion; False if it cannot hold it."""
    step = elementwise(value)
    if step is None or not _covers(into, var):
        return False
    if STEPS[step.kind].tensor:
        first = value.args[0].same_as(into)
        other = value.args[1] if first else value.args[0]
        if other.same_as(fusion.end) and not fusion.data[0].same_as(into):
            # Nothing will be called so any longer.
            return False
        if step.kind == "add" and _covers(other, var):
            fusion.step(*_shortcut(graph, other))
        else:
            fusion.step(step.kind if first else EXCHANGED.get(step.kind, step.kind), other)
    elif step.kind == "affine" and np.all(array(step.operands[0]) == 1):
        fusion.step("bias", step.operands[1])
    else:
        fusion.step(step.kind, *step.operands, params=step.params)
    fusion.end = var
    return True


def _shortcut(graph: Graph, other: relax.Expr) -> tuple[str, relax.Expr]:
    """The step and operand of a shortcut: other channels or a 2x2 average are read in place."""
    value, wanted = graph.value(other), ops.shape_of(other)[3]
    if value is None or graph.only_user(other) is None:
        return "add", other
    if _is_unfused(value) and ops.anchor_name(value) == "pad_channels":
        zeros = float(value.attrs["pad_value"]) == 0 and int(value.attrs["before"]) == 0
        return ("add_pad", value.args[0]) if zeros else ("add", other)
    tile = ""
    if _is_unfused(value) and ops.anchor_name(value) == "tile" and int(value.attrs["start"]) == 0:
        other = value.args[0]
        tile = "_tile" if ops.shape_of(other)[3] < wanted else ""
        value = graph.value(other)
    if value is None or graph.only_user(other) is None:
        return f"add{tile}", other
    if ops.is_op(value, "relax.nn.avg_pool2d"):
        window = Window.of(value.attrs, value.attrs.pool_size)
        if window == Window((2, 2), (2, 2)):
            return f"add_avg2{tile}", value.args[0]
    return f"add{tile}", other


def _fuse(graph: Graph, var: relax.Var, value: relax.Call) -> None:
    if _narrows(value):
        epilogue = Epilogue((), ops.epilogue_of(value).outputs)
        graph.set(var, ops.anchor("map", [value.args[0]], epilogue, value.args[1:]))
        return
    fusion = _start(graph, var, value)
    while True:
        users = graph.users(fusion.end)
        narrow = [u for u in users if _narrows(graph.values[u])]
        only = graph.only_user(fusion.end)
        if only is None or narrow or (fusion.steps and fusion.steps[-1].kind in LEVELS):
            # verify compares levels, which rounding decides.
            break
        if not _absorb(graph, fusion, only, graph.values[only], fusion.end):
            break
    _emit(graph, fusion, narrow, keep=len(narrow) < len(users) or fusion.end in graph.outputs)


def _emit(graph: Graph, fusion: Fusion, narrow: list[relax.Var], keep: bool) -> None:
    """Replace the absorbed bindings by one call at the place of the last one."""
    outputs: list[Output] = [Output()] if keep else []
    for one in narrow:
        call = graph.values[one]
        outputs.append(ops.epilogue_of(call).outputs[0].behind(len(fusion.operands)))
        fusion.operands += call.args[1:]
    call = ops.anchor(
        fusion.name,
        fusion.data,
        Epilogue(tuple(fusion.steps), tuple(outputs)),
        fusion.operands,
        **fusion.attrs,
    )
    results = ([fusion.end] if keep else []) + narrow
    if len(results) == 1 and keep:
        graph.set(fusion.end, call)
        return
    if len(results) == 1:
        target = bind(call, narrow[0].name)
        graph.replace(fusion.end, [(target, call)])
        graph.set(narrow[0], target)
        return
    joint = bind(call, derived(fusion.end.name, "all"))
    items = [(v, relax.TupleGetItem(joint, i)) for i, v in enumerate(results)]
    graph.replace(fusion.end, [(joint, call), *items[:1]] if keep else [(joint, call)])
    for one, item in items[1:] if keep else items:
        graph.set(one, item)
