"""A Relax module run by the numpy reference: what a program must equal bit for bit."""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
from tvm import relax

from bnn_compiler.ops import relax_ops as ops
from bnn_compiler.ops.graph import Graph, array, constant

Values = dict[relax.Var, Any]
#: Meanings by operator, in place of those of OPERATORS.
Meanings = Mapping[str, Callable[..., Any]]
_OWN: Meanings = MappingProxyType({})


def run_call(call: relax.Call, values: Values, meanings: Meanings = _OWN) -> Any:
    """The result of one call; a list if it has several outputs. Bits are int8 -1/+1."""
    args = [values[a] if constant(a) is None else array(a) for a in call.args if not _is_shape(a)]
    if ops.is_op(call, "relax.permute_dims"):
        return np.transpose(args[0], [int(v) for v in call.attrs.axes])
    if ops.is_op(call, "relax.reshape"):
        return args[0].reshape([int(v) for v in call.args[1].values])
    assert ops.bnn_name(call), call.op
    operator, count = ops.operator_of(call), ops.data_count(call)
    meaning: Any = meanings.get(ops.bnn_name(call), operator.meaning)
    value = meaning(call.attrs, *args[:count])
    if not operator.anchor:
        return value
    results = ops.epilogue_of(call).apply(value, args[count:])
    return results if len(results) > 1 else results[0]


def _is_shape(expr: relax.Expr) -> bool:
    return isinstance(expr, relax.ShapeExpr)


def run(graph: Graph, inputs: Sequence[np.ndarray]) -> Values:
    """Every variable's value."""
    values: Values = dict(zip(graph.params, inputs, strict=True))
    for var, value in graph.values.items():
        if isinstance(value, relax.TupleGetItem):
            values[var] = values[value.tuple_value][value.index]
        elif isinstance(value, relax.Var):
            values[var] = values[value]
        else:
            values[var] = run_call(value, values)
    return values
