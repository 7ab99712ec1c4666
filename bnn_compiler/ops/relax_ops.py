"""The operators of operators.py in Relax, as ``relax.bnn.*``: registration and their calls.

A ``sign`` whose zero is 0 may be ternary: convolutions read it as planes (passes/sign_planes.py).
"""

from collections.abc import Sequence
from typing import Any

import tvm
from tvm import relax
from tvm.ir import Op, _ffi_api, register_op_attr

from bnn_compiler.ops.epilogue import Epilogue
from bnn_compiler.ops.operators import OPERATORS, VARIADIC, Operator
from bnn_compiler.ops.rounding import ceil_div

_PREFIX = "relax.bnn."


def shape_of(expr: relax.Expr) -> tuple[int, ...]:
    """The static shape of an expression of tensor type."""
    return tuple(int(v) for v in expr.ty.shape)


def words(channels: int) -> int:
    """uint32 words that hold ``channels`` bits."""
    return ceil_div(channels, 32)


def called(expr: relax.Expr) -> str:
    """The Relax name of the operator that ``expr`` calls; "" if it calls none."""
    found = isinstance(expr, relax.Call) and isinstance(expr.op, Op)
    return str(expr.op.name) if found else ""


def is_op(expr: relax.Expr, name: str) -> bool:
    """Whether ``expr`` calls the Relax operator ``name``."""
    return called(expr) == name


def bnn_name(expr: relax.Expr) -> str:
    """ "conv2d" for a call of relax.bnn.conv2d; "" for anything that is not of OPERATORS."""
    name = called(expr)
    known = name.startswith(_PREFIX) and name.removeprefix(_PREFIX) in OPERATORS
    return name.removeprefix(_PREFIX) if known else ""


def anchor_name(expr: relax.Expr) -> str:
    """The name of the anchor that ``expr`` calls; "" for anything that is no anchor."""
    name = bnn_name(expr)
    return name if name and OPERATORS[name].anchor else ""


def operator_of(call: relax.Call) -> Operator:
    """The operator that a call of relax.bnn.* is one of."""
    return OPERATORS[bnn_name(call)]


def reads_halo(expr: relax.Expr) -> bool:
    """Whether ``expr`` finds its padding in the halo of its first argument."""
    name = bnn_name(expr)
    return bool(name) and OPERATORS[name].reads_halo


def data_count(call: relax.Call) -> int:
    """How many of an operator's arguments are data; an anchor's epilogue has the rest."""
    count = operator_of(call).data
    return int(call.attrs["inputs"]) if count == VARIADIC else count


def value_shape(call: relax.Call) -> tuple[int, ...]:
    """The logical shape of an operator's value, in channels; before an anchor's epilogue."""
    shapes = [shape_of(a) for a in call.args[: data_count(call)]]
    return operator_of(call).shape(call.attrs, shapes)


def anchor_shape(call: relax.Call) -> tuple[int, int, int, int]:
    """The logical [N, H, W, C] of an anchor's value."""
    n, h, w, c = value_shape(call)
    return n, h, w, c


def anchor_attrs(call: relax.Call) -> dict[str, Any]:
    """An anchor's attributes without its epilogue's."""
    names = set(call.attrs.keys()) - {"epilogue", "outputs"}
    return {name: call.attrs[name] for name in sorted(names)}


def epilogue_of(call: relax.Call) -> Epilogue:
    """The epilogue of an anchor call."""
    return Epilogue.parse(list(call.attrs["epilogue"]), list(call.attrs["outputs"]))


def call_op(name: str, args: Sequence[relax.Expr], **attrs: Any) -> relax.Call:
    """A call of ``relax.bnn.<name>``."""
    register()
    return relax.Call(Op.get(_PREFIX + name), list(args), tvm.ir.make_node("ir.DictAttrs", **attrs))


def anchor(
    name: str,
    data: Sequence[relax.Expr],
    epilogue: Epilogue = Epilogue(),  # noqa: B008 (frozen)
    operands: Sequence[relax.Expr] = (),
    **attrs: Any,
) -> relax.Call:
    """A call of an anchor operator with its epilogue."""
    return call_op(name, [*data, *operands], **attrs, **epilogue.attrs())


def _type(shape: Sequence[int], bits: bool, dtype: str = "float32") -> Any:
    if bits:
        return relax.TensorType([*shape[:-1], words(shape[-1])], "uint32")
    return relax.TensorType(list(shape), dtype)


def _infer(call: relax.Call, _: relax.BlockBuilder) -> Any:
    operator, shape = operator_of(call), value_shape(call)
    if not operator.anchor:
        return _type(shape, operator.bits, operator.dtype(call.attrs))
    outputs = epilogue_of(call).outputs
    types = [_type(shape, out.is_bits, out.storage.dtype) for out in outputs]
    return types[0] if len(types) == 1 else relax.TupleType(types)


_registered = set[str]()


def register() -> None:
    """Register the operators with TVM; each once per process."""
    for name, operator in OPERATORS.items():
        if name in _registered:
            continue
        _registered.add(name)
        full = _PREFIX + name
        _ffi_api.RegisterOp(full, f"bnn_compiler operator {name}; see ops/operators.py")
        op = Op.get(full)
        op.set_num_inputs(-1 if operator.anchor else operator.data)
        register_op_attr(full, "FInferType", _infer)
        register_op_attr(full, "FPurity", True)
