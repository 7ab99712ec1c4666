"""Operators whose results are constants or dtypes, once shapes are known."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bnn_compiler.frontend.onnx.node import Node

#: ONNX's numbers of dtypes. Halves are float32 here (file.py).
DTYPES = {
    1: torch.float32,
    2: torch.uint8,
    3: torch.int8,
    4: torch.uint16,
    5: torch.int16,
    6: torch.int32,
    7: torch.int64,
    9: torch.bool,
    11: torch.float64,
}


def _constant(node: Node) -> Tensor:
    for name in ("value", "value_float", "value_int", "value_floats", "value_ints"):
        if name in node.attributes:
            value = node.attributes[name]
            integers = name.startswith("value_int")
            dtype = None if name == "value" else np.int64 if integers else np.float32
            return torch.from_numpy(np.array(value, dtype=dtype))
    raise node.fail(f"a constant of {', '.join(node.attributes) or 'nothing'}; give numbers")


def _constant_of_shape(node: Node, shape: Tensor) -> Tensor:
    value = node.attr("value")
    filled = np.zeros(1, np.float32) if value is None else np.asarray(value)
    sizes = node.integers(0, "shape")
    return torch.from_numpy(np.full(sizes, filled.reshape(-1)[0], filled.dtype))


def _shape(node: Node, x: Tensor) -> Tensor:
    first, last = node.attr("start", 0), node.attr("end")
    return torch.tensor(list(x.shape)[first:last], dtype=torch.int64)


def _range(node: Node, start: Tensor, limit: Tensor, delta: Tensor) -> Tensor:
    first, last, step = (node.constant(i, "range").reshape(-1)[0] for i in range(3))
    return torch.from_numpy(np.arange(first, last, step, dtype=first.dtype))


def _cast(node: Node, x: Tensor) -> Tensor:
    to = int(node.attr("to"))
    if to not in DTYPES:
        raise node.fail(f"a cast to ONNX's dtype {to}")
    if DTYPES[to] == torch.float64 and node.constants[0] is None:
        raise node.fail("a cast to float64; only float32 can be compiled")
    return x.to(DTYPES[to])


def _cast_like(node: Node, x: Tensor, other: Tensor) -> Tensor:
    return x.to(other.dtype)


#: ONNX operator -> its translation.
OPERATORS: dict[str, Callable[..., Any]] = {
    "Constant": _constant,
    "ConstantOfShape": _constant_of_shape,
    "Shape": _shape,
    "Size": lambda node, x: torch.tensor(x.numel()),
    "Range": _range,
    "Cast": _cast,
    "CastLike": _cast_like,
}
#: What is known of a tensor whose elements are not.
OF_SHAPES = ("Shape", "Size")
