"""Operators on levels (QOperator format): the operator between an inverse and a quantisation."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from bnn_compiler.frontend.onnx.convolution import conv
from bnn_compiler.frontend.onnx.node import Node
from bnn_compiler.frontend.onnx.pooling import average_pool
from bnn_compiler.frontend.onnx.quantization import dequantize, quantize


def _result(node: Node, y: Tensor, position: int, like: Tensor) -> Tensor:
    """``y`` as levels by the scale at ``position``, of the dtype of its zero point or ``like``."""
    dtype = like.dtype
    if node.has(position + 1):
        dtype = torch.from_numpy(node.constant(position + 1, "zero point").reshape(-1)).dtype
    return quantize(node, y, position, position + 1, dtype)


def _bias(node: Node, levels: Tensor | None, steps: tuple[int, int]) -> Tensor | None:
    """An int32 bias, whose scale is the product of those at ``steps``."""
    if levels is None:
        return None
    a, b = (torch.from_numpy(node.constant(i, "scale").reshape(-1)) for i in steps)
    return levels.to(torch.float32) * (a * b)


def _conv(node: Node, x: Tensor, *given: Tensor) -> Tensor:
    weight, bias = given[2], given[7] if len(given) > 7 else None
    y = conv(
        node,
        dequantize(node, x, 0),
        dequantize(node, weight, 3, axis=0),
        _bias(node, bias, (1, 4)),
    )
    return _result(node, y, 6, x)


def _matmul(node: Node, a: Tensor, *given: Tensor) -> Tensor:
    y = torch.matmul(dequantize(node, a, 0), dequantize(node, given[2], 3, axis=-1))
    return _result(node, y, 6, a)


def _gemm(node: Node, a: Tensor, *given: Tensor) -> Tensor:
    if node.attr("transA", 0) or node.attr("alpha", 1.0) != 1.0:
        raise node.fail("transA and alpha cannot be compiled")
    transposed = node.attr("transB", 0)
    b = dequantize(node, given[2], 3, axis=0 if transposed else 1)
    bias = _bias(node, given[5] if len(given) > 5 else None, (1, 4))
    y = functional.linear(dequantize(node, a, 0), b if transposed else b.t(), bias)
    return _result(node, y, 7, a) if node.has(7) else y


def _two(function: Callable[[Tensor, Tensor], Tensor]) -> Callable[..., Tensor]:
    def translate(node: Node, a: Tensor, *given: Tensor) -> Tensor:
        y = function(dequantize(node, a, 0), dequantize(node, given[2], 3))
        return _result(node, y, 6, a)

    return translate


def _one(function: Callable[[Node, Tensor], Tensor]) -> Callable[..., Tensor]:
    def translate(node: Node, x: Tensor, *given: Tensor) -> Tensor:
        return _result(node, function(node, dequantize(node, x, 0)), 3, x)

    return translate


def _concat(node: Node, scale: Tensor, zero: Tensor, *given: Tensor) -> Tensor:
    parts = [dequantize(node, given[i], i + 2) for i in range(0, len(given), 3)]
    return _result(node, torch.cat(parts, node.attr("axis", 1)), 0, given[0])


def _average(node: Node, x: Tensor, *given: Tensor) -> Tensor:
    if node.attr("channels_last", 0):
        raise node.fail("channels_last cannot be compiled")
    y = torch.mean(dequantize(node, x, 0), tuple(range(2, x.dim())), True)
    return _result(node, y, 3, x)


#: Operator of ONNX -> its translation.
OPERATORS: dict[str, Callable[..., Any]] = {"QLinearConv": _conv, "QLinearMatMul": _matmul}
#: The same of com.microsoft, as onnxruntime's quantize_static writes them.
MICROSOFT: dict[str, Callable[..., Any]] = {
    "QGemm": _gemm,
    "QLinearAdd": _two(torch.add),
    "QLinearMul": _two(torch.mul),
    "QLinearGlobalAveragePool": _average,
    "QLinearAveragePool": _one(average_pool),
    "QLinearSigmoid": _one(lambda node, x: torch.sigmoid(x)),
    "QLinearLeakyRelu": _one(lambda node, x: functional.leaky_relu(x, node.attr("alpha", 0.01))),
    "QLinearConcat": _concat,
}
