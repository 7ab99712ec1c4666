"""A fused network on samples in numpy, as fast as numpy is: to compare two forms of it.

What two forms have in common is computed once; float convolutions are sums of matrix products.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tvm import relax

from bnn_compiler.ops import evaluate
from bnn_compiler.ops import relax_ops as ops
from bnn_compiler.ops.graph import Graph, inputs
from bnn_compiler.ops.reference import near_conv2d
from bnn_compiler.ops.window import Window

Arrays = Mapping[str, NDArray[Any]]


def _near(attrs: Any, x: NDArray[np.float32], w: NDArray[np.float32]) -> NDArray[np.float32]:
    return near_conv2d(x, w, Window.of(attrs, w.shape[1:3]))


_NOTHING: Arrays = MappingProxyType({})
_NEAR = MappingProxyType({"float_conv2d": _near})


@dataclass(frozen=True)
class Forward:
    """``values`` of every variable by name; ``outputs`` are the network's, in their own shapes."""

    values: Arrays
    outputs: list[NDArray[Any]]

    @property
    def signs(self) -> dict[str, NDArray[np.int8]]:
        """The values of -1 and +1 that kernels pack into bits."""
        return {name: v for name, v in self.values.items() if v.dtype == np.int8}


def forward(graph: Graph, given: Sequence[NDArray[Any]], known: Arrays = _NOTHING) -> Forward:
    """Run ``graph`` on ``given``. ``known`` are values of the same network in another form, on the
    same inputs: those that no layer on bytes of this form has touched are not computed again.
    """
    values: evaluate.Values = dict(zip(graph.params, given, strict=True))
    touched: set[relax.Var] = set()
    several = {v.tuple_value for v in graph.values.values() if isinstance(v, relax.TupleGetItem)}
    for var, value in graph.values.items():
        if ops.is_op(value, "relax.bnn.int8_conv2d") or not touched.isdisjoint(inputs(value)):
            touched.add(var)
        elif var.name in known:
            values[var] = known[var.name]
            continue
        elif var in several:
            # Its outputs have names of their own: computed where one of them is not known.
            continue
        if isinstance(value, relax.TupleGetItem):
            source = value.tuple_value
            if source not in values:
                values[source] = evaluate.run_call(graph.values[source], values, _NEAR)
            values[var] = values[source][value.index]
        elif isinstance(value, relax.Var):
            values[var] = values[value]
        else:
            values[var] = evaluate.run_call(value, values, _NEAR)
    arrays = {v.name: a for v, a in values.items() if isinstance(a, np.ndarray)}
    return Forward(arrays, [values[v] for v in graph.outputs])
