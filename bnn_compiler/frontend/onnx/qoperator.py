"""Operators on levels (QOperator format): the operator between an inverse and a quantisation."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from bnn_compiler.frontend.onnx.convolution import conv
from bnn_compiler.frontend.onnx.node import Node
from bnn_compiler.frontend.onnx.pooling import average_pool
from bnn_compiler.frontend.onnx.quantization import dequantize, quantize

#: The real result of an operator, from the node and its inputs.
Real = Callable[..., Tensor]


def _levels(real: Real, position: int) -> Callable[..., Tensor]:
    """The translation: the real result as levels by the scale at ``position``."""

    def translate(node: Node, *inputs: Tensor) -> Tensor:
        y = real(node, *inputs)
        if not node.has(position):
            return y
        # Without a zero point they are like the first input.
        like = inputs[position + 1 if node.has(position + 1) else 0]
        return quantize(node, y, position, position + 1, like.dtype)

    return translate


def _bias(node: Node, levels: Tensor | None, steps: tuple[int, int]) -> Tensor | None:
    """An int32 bias, whose scale is the product of those at ``steps``."""
    if levels is None:
        return None
    a, b = (torch.from_numpy(node.constant(i, "scale").reshape(-1)) for i in steps)
    return levels.to(torch.float32) * (a * b)


def _conv(node: Node, x: Tensor, *given: Tensor) -> Tensor:
    weight, bias = given[2], given[7] if len(given) > 7 else None
    return conv(
        node,
        dequantize(node, x, 0),
        dequantize(node, weight, 3, axis=0),
        _bias(node, bias, (1, 4)),
    )


def _matmul(node: Node, a: Tensor, *given: Tensor) -> Tensor:
    return torch.matmul(dequantize(node, a, 0), dequantize(node, given[2], 3, axis=-1))


def _gemm(node: Node, a: Tensor, *given: Tensor) -> Tensor:
    if node.attr("transA", 0) or node.attr("alpha", 1.0) != 1.0:
        raise node.fail("transA and alpha cannot be compiled")
    transposed = node.attr("transB", 0)
    b = dequantize(node, given[2], 3, axis=0 if transposed else 1)
    bias = _bias(node, given[5] if len(given) > 5 else None, (1, 4))
    return functional.linear(dequantize(node, a, 0), b if transposed else b.t(), bias)


def _two(function: Callable[[Tensor, Tensor], Tensor]) -> Real:
    def real(node: Node, a: Tensor, *given: Tensor) -> Tensor:
        return function(dequantize(node, a, 0), dequantize(node, given[2], 3))

    return real


def _one(function: Callable[[Node, Tensor], Tensor]) -> Real:
    def real(node: Node, x: Tensor, *given: Tensor) -> Tensor:
        return function(node, dequantize(node, x, 0))

    return real


def _concat(node: Node, scale: Tensor, zero: Tensor, *given: Tensor) -> Tensor:
    parts = [dequantize(node, given[i], i + 2) for i in range(0, len(given), 3)]
    return torch.cat(parts, node.attr("axis", 1))


def _average(node: Node, x: Tensor, *given: Tensor) -> Tensor:
    if node.attr("channels_last", 0):
        raise node.fail("channels_last cannot be compiled")
    return torch.mean(dequantize(node, x, 0), tuple(range(2, x.dim())), True)


#: Operator -> its real result, and the position of the scale of the result's levels.
REAL: dict[str, tuple[Real, int]] = {
    "QLinearConv": (_conv, 6),
    "QLinearMatMul": (_matmul, 6),
    "QGemm": (_gemm, 7),
    "QLinearAdd": (_two(torch.add), 6),
    "QLinearMul": (_two(torch.mul), 6),
    "QLinearGlobalAveragePool": (_average, 3),
    "QLinearAveragePool": (_one(average_pool), 3),
    "QLinearSigmoid": (_one(lambda node, x: torch.sigmoid(x)), 3),
    "QLinearLeakyRelu": (
        _one(lambda node, x: functional.leaky_relu(x, node.attr("alpha", 0.01))),
        3,
    ),
    "QLinearConcat": (_concat, 0),
}
_TRANSLATED = {name: _levels(*of) for name, of in REAL.items()}
_ONNX = ("QLinearConv", "QLinearMatMul")

#: Operator of ONNX -> its translation.
OPERATORS = {name: made for name, made in _TRANSLATED.items() if name in _ONNX}
#: The same of com.microsoft, as onnxruntime's quantize_static writes them.
MICROSOFT = {name: made for name, made in _TRANSLATED.items() if name not in _ONNX}
