"""The ``relax.bnn.*`` operators: registration, shape rules, and builders for their calls.

Tensors are NHWC. Bit tensors are uint32 [N, H, W, ceil(C/32)]: channel c is bit c % 32 of word
c // 32, 1 means +1, the tail bits of the last word are 0.

| operator | data | result |
|---|---|---|
| sign | x float32 | -1, 0 or +1 as float32; attribute ``zero`` says what sign(0) is |
| affine | x, scale [C], bias [C] | fma(x, scale, bias) |
| tile | x | x repeated ``times`` along the channels |
| map | x, operands... | epilogue(x) |
| conv2d | bits, w int8 [O,KH,KW,C/groups] of -1/+1, operands... | epilogue(exact integer) |
| float_conv2d | x, w [O,KH,KW,C/groups], operands... | epilogue(convolution) |
| winograd_conv2d | x [N,C,H,W], w [O,K,K,C], operands... | the same by minimal filtering |
| bytes | x uint8, operands... | epilogue(float32(x)) |
| byte_conv2d | x uint8, w int16, scale [O], bias [O,KH,KW] | epilogue(scale * sum + biases) |
| max_pool2d, avg_pool2d, global_mean, resize2d, pad | x, operands... | epilogue(value) |
| concat | x..., operands... (``inputs`` says how many x) | epilogue(value) |
| bits_max_pool2d | bits, flip uint32 [words] | per channel OR (flip 0) or AND (flip 1) |

Operators with an epilogue (ops/epilogue.py) are anchors; they return one tensor per output.
A ``sign`` whose zero is 0 may be ternary: convolutions read it as planes (passes/sign_planes.py).
"""

from collections.abc import Sequence
from typing import Any

import tvm
from tvm import relax
from tvm.ir import Op, _ffi_api, register_op_attr

from bnn_compiler.ops.epilogue import Epilogue

#: Operators that carry an epilogue: name -> number of data operands before the epilogue's.
ANCHORS = {
    "map": 1,
    "conv2d": 2,
    "float_conv2d": 2,
    "bytes": 1,
    "byte_conv2d": 4,
    "winograd_conv2d": 2,
    "max_pool2d": 1,
    "avg_pool2d": 1,
    "global_mean": 1,
    "resize2d": 1,
    "pad": 1,
    "concat": -1,
}
_PLAIN = {"sign": 1, "affine": 3, "tile": 1, "bits_max_pool2d": 2}


def shape_of(expr: relax.Expr) -> tuple[int, ...]:
    """The static shape of an expression of tensor type."""
    return tuple(int(v) for v in expr.ty.shape)


def words(channels: int) -> int:
    """uint32 words that hold ``channels`` bits."""
    return -(-channels // 32)


def window_size(size: Sequence[int], kernel: Sequence[int], attrs: Any) -> tuple[int, int]:
    """Output (h, w) of a window with the call's strides, padding (t, l, b, r) and dilation."""
    t, left, b, r = (int(v) for v in attrs["padding"])
    (sh, sw), (dh, dw) = (
        [int(v) for v in attrs["strides"]],
        [int(v) for v in attrs["dilation"]],
    )
    return (
        (size[0] + t + b - dh * (kernel[0] - 1) - 1) // sh + 1,
        (size[1] + left + r - dw * (kernel[1] - 1) - 1) // sw + 1,
    )


def anchor_shape(call: relax.Call) -> tuple[int, int, int, int]:
    """The logical [N, H, W, C] of an anchor's value."""
    name, x = anchor_name(call), shape_of(call.args[0])
    if name in ("map", "bytes"):
        return x[0], x[1], x[2], x[3]
    if name == "global_mean":
        return x[0], 1, 1, x[3]
    if name == "concat":
        return x[0], x[1], x[2], sum(shape_of(a)[3] for a in call.args[: data_count(call)])
    if name == "resize2d":
        oh, ow = (int(v) for v in call.attrs["size"])
        return x[0], oh, ow, x[3]
    if name == "pad":
        t, left, b, r = (int(v) for v in call.attrs["padding"])
        return x[0], x[1] + t + b, x[2] + left + r, x[3]
    if name.endswith("conv2d"):
        o, kh, kw, _ = shape_of(call.args[1])
        size = x[2:4] if name == "winograd_conv2d" else x[1:3]
        return x[0], *window_size(size, (kh, kw), call.attrs), o
    kernel = [int(v) for v in call.attrs["kernel"]]
    return x[0], *window_size(x[1:3], kernel, call.attrs), x[3]


def anchor_name(call: relax.Expr) -> str:
    """ "conv2d" for a call of relax.bnn.conv2d; "" for anything that is no anchor."""
    if not isinstance(call, relax.Call) or not isinstance(call.op, Op):
        return ""
    name = str(call.op.name).removeprefix("relax.bnn.")
    return name if name in ANCHORS else ""


def data_count(call: relax.Call) -> int:
    """How many of an anchor's arguments are data; the rest are epilogue operands."""
    count = ANCHORS[anchor_name(call)]
    return count if count >= 0 else int(call.attrs["inputs"])


def anchor_attrs(call: relax.Call) -> dict[str, Any]:
    """An anchor's attributes without its epilogue's."""
    names = set(call.attrs.keys()) - {"epilogue", "outputs"}
    return {name: call.attrs[name] for name in sorted(names)}


def is_op(expr: relax.Expr, name: str) -> bool:
    """Whether ``expr`` calls the Relax operator ``name``."""
    return isinstance(expr, relax.Call) and isinstance(expr.op, Op) and expr.op.name == name


def epilogue_of(call: relax.Call) -> Epilogue:
    """The epilogue of an anchor call."""
    return Epilogue.parse(list(call.attrs["epilogue"]), list(call.attrs["outputs"]))


def call_op(name: str, args: Sequence[relax.Expr], **attrs: Any) -> relax.Call:
    """A call of ``relax.bnn.<name>``."""
    register()
    return relax.Call(
        Op.get(f"relax.bnn.{name}"), list(args), tvm.ir.make_node("ir.DictAttrs", **attrs)
    )


def anchor(
    name: str,
    data: Sequence[relax.Expr],
    epilogue: Epilogue = Epilogue(),  # noqa: B008 (frozen)
    operands: Sequence[relax.Expr] = (),
    **attrs: Any,
) -> relax.Call:
    """A call of an anchor operator with its epilogue."""
    return call_op(name, [*data, *operands], **attrs, **epilogue.attrs())


def _infer_anchor(call: relax.Call, _: relax.BlockBuilder) -> Any:
    n, h, w, c = anchor_shape(call)
    types = [
        relax.TensorType([n, h, w, words(c)], "uint32")
        if out.is_bits
        else relax.TensorType([n, h, w, c], "float32")
        for out in epilogue_of(call).outputs
    ]
    return types[0] if len(types) == 1 else relax.TupleType(types)


def _infer_plain(call: relax.Call, _: relax.BlockBuilder) -> Any:
    shape = list(shape_of(call.args[0]))
    name = str(call.op.name)
    if name.endswith("tile"):
        shape[3] *= int(call.attrs["times"])
    if name.endswith("bits_max_pool2d"):
        kernel = [int(v) for v in call.attrs["kernel"]]
        return relax.TensorType(
            [shape[0], *window_size(shape[1:3], kernel, call.attrs), shape[3]], "uint32"
        )
    return relax.TensorType(shape, "float32")


_registered = False


def register() -> None:
    """Register the operators with TVM; once per process, later calls do nothing."""
    global _registered
    if _registered:
        return
    _registered = True
    for name, count in {**ANCHORS, **_PLAIN}.items():
        full = f"relax.bnn.{name}"
        _ffi_api.RegisterOp(full, f"bnn_compiler operator {name}; see ops/relax_ops.py")
        op = Op.get(full)
        op.set_num_inputs(-1 if name in ANCHORS else count)
        register_op_attr(full, "FInferType", _infer_anchor if name in ANCHORS else _infer_plain)
        register_op_attr(full, "FPurity", True)
