"""FuseEpilogue: what follows a convolution or pool moves into it, sign bits and shortcuts too."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import tvm
from tvm import relax

from bnn_compiler.ops import relax_ops as ops
from bnn_compiler.ops.epilogue import Epilogue, Output, Step
from bnn_compiler.ops.graph import Graph, array, base_name, bind, derived
from bnn_compiler.passes.fold_affine import is_sign_bits

#: Element-wise operators that an epilogue can hold.
_ELEMENTWISE = ("relax.bnn.affine", "relax.nn.prelu", "relax.clip", "relax.add", "relax.bnn.sign")


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
    return ops.anchor_name(value) == "conv2d" and ops.epilogue_of(value) == Epilogue()


def _is_anchor(value: relax.Expr) -> bool:
    return _standard_anchor(value) is not None


def _is_elementwise(value: relax.Expr) -> bool:
    return any(ops.is_op(value, name) for name in _ELEMENTWISE) or is_sign_bits(value)


def _window(attrs: Any, kernel: list[int]) -> dict[str, Any]:
    return {
        "kernel": kernel,
        "strides": [int(v) for v in attrs.strides],
        "padding": [int(v) for v in attrs.padding],
        "dilation": [int(v) for v in attrs.dilation],
    }


def _standard_anchor(value: relax.Expr) -> tuple[str, list[relax.Expr], dict[str, Any]] | None:
    """Name, data and attributes of the anchor that a standard Relax operator becomes."""
    if not isinstance(value, relax.Call):
        return None
    a, args = value.attrs, list(value.args)
    if ops.is_op(value, "relax.nn.conv2d"):
        window = _window(a, [int(v) for v in ops.shape_of(args[1])[1:3]])
        return "float_conv2d", args, {**window, "groups": int(a.groups)}
    if ops.is_op(value, "relax.nn.max_pool2d"):
        return "max_pool2d", args, _window(a, [int(v) for v in a.pool_size])
    if ops.is_op(value, "relax.nn.avg_pool2d"):
        window = _window(a, [int(v) for v in a.pool_size])
        return "avg_pool2d", args, {**window, "count_include_pad": bool(a.count_include_pad)}
    if ops.is_op(value, "relax.mean"):
        return "global_mean", args, {}
    if ops.is_op(value, "relax.concat"):
        fields = list(args[0].fields)
        return "concat", fields, {"inputs": len(fields)}
    if ops.anchor_name(value) == "resize2d" and ops.epilogue_of(value) == Epilogue():
        return "resize2d", args, ops.anchor_attrs(value)
    if ops.is_op(value, "relax.nn.pad"):
        w = [int(v) for v in a.pad_width]
        return (
            "pad",
            args[:1],
            {
                "padding": [w[2], w[4], w[3], w[5]],
                "pad_value": float(a.pad_value),
            },
        )
    return None


def _start(graph: Graph, var: relax.Var, value: relax.Call) -> Fusion:
    """The fusion that begins at ``var``; attribute ``layer`` keeps its name for reports."""
    layer = base_name(var.name)
    if _is_unfused_conv(value):
        return Fusion(
            var, "conv2d", list(value.args[:2]), {**ops.anchor_attrs(value), "layer": layer}
        )
    standard = _standard_anchor(value)
    if standard is not None:
        name, data, attrs = standard
        return Fusion(var, name, data, {**attrs, "layer": layer})
    fusion = Fusion(var, "map", [value.args[0]], {"layer": layer})
    if not is_sign_bits(value):
        _absorb(graph, fusion, var, value, value.args[0])
    return fusion


def _absorb(
    graph: Graph, fusion: Fusion, var: relax.Var, value: relax.Expr, into: relax.Expr
) -> bool:
    """Append ``value``, which reads ``into``, to the fusion; False if it cannot hold it."""
    if ops.is_op(value, "relax.bnn.affine"):
        if np.all(array(value.args[1]) == 1):
            fusion.step("bias", value.args[2])
        else:
            fusion.step("affine", value.args[1], value.args[2])
    elif ops.is_op(value, "relax.nn.prelu"):
        fusion.step("prelu", value.args[1])
    elif ops.is_op(value, "relax.clip"):
        lo, hi = (float(a.value) for a in value.args[1:3])
        fusion.step("clip", params=(lo, hi))
    elif ops.is_op(value, "relax.bnn.sign"):
        fusion.step("sign", params=(float(value.attrs["zero"]),))
    elif ops.is_op(value, "relax.add"):
        other = value.args[1] if value.args[0].same_as(into) else value.args[0]
        fusion.step(*_shortcut(graph, other))
    else:
        return False
    fusion.end = var
    return True


def _shortcut(graph: Graph, other: relax.Expr) -> tuple[str, relax.Expr]:
    """The step and operand of a shortcut: a tile or a 2x2 average pool is read in place."""
    value = graph.value(other)
    if value is None or graph.only_user(other) is None:
        return "add", other
    if ops.is_op(value, "relax.bnn.tile"):
        return "add_tile", value.args[0]
    if ops.is_op(value, "relax.nn.avg_pool2d"):
        window = _window(value.attrs, [int(v) for v in value.attrs.pool_size])
        twos = window["kernel"] == window["strides"] == [2, 2]
        if twos and not any(window["padding"]) and window["dilation"] == [1, 1]:
            return "add_avg2", value.args[0]
    return "add", other


def _fuse(graph: Graph, var: relax.Var, value: relax.Call) -> None:
    if is_sign_bits(value):
        root = value.args[0]
        fusion = Fusion(var, "map", [root], {})
        fusion.operands.append(value.args[1])
        outputs = (Output(ops.epilogue_of(value).outputs[0].compare, 0),)
        graph.set(var, ops.anchor("map", [root], Epilogue((), outputs), fusion.operands))
        return
    fusion = _start(graph, var, value)
    while True:
        users = graph.users(fusion.end)
        signs = [u for u in users if is_sign_bits(graph.values[u])]
        only = graph.only_user(fusion.end)
        if only is None or signs:
            break
        if not _absorb(graph, fusion, only, graph.values[only], fusion.end):
            break
    _emit(graph, fusion, signs, keep=len(signs) < len(users) or fusion.end in graph.outputs)


def _emit(graph: Graph, fusion: Fusion, signs: list[relax.Var], keep: bool) -> None:
    """Replace the absorbed bindings by one call at the place of the last one."""
    outputs: list[Output] = [Output()] if keep else []
    for sign in signs:
        call = graph.values[sign]
        outputs.append(Output(ops.epilogue_of(call).outputs[0].compare, len(fusion.operands)))
        fusion.operands.append(call.args[1])
    call = ops.anchor(
        fusion.name,
        fusion.data,
        Epilogue(tuple(fusion.steps), tuple(outputs)),
        fusion.operands,
        **fusion.attrs,
    )
    results = ([fusion.end] if keep else []) + signs
    if len(results) == 1 and keep:
        graph.set(fusion.end, call)
        return
    if len(results) == 1:
        target = bind(call, signs[0].name)
        graph.replace(fusion.end, [(target, call)])
        graph.set(signs[0], target)
        return
    joint = bind(call, derived(fusion.end.name, "all"))
    items = [(v, relax.TupleGetItem(joint, i)) for i, v in enumerate(results)]
    graph.replace(fusion.end, [(joint, call), *items[:1]] if keep else [(joint, call)])
    for sign, item in items[1:] if keep else items:
        graph.set(sign, item)
