"""Activation functions."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from bnn_compiler.frontend.onnx.arithmetic import one
from bnn_compiler.frontend.onnx.node import Node

_SELU = (1.67326319217681884765625, 1.05070102214813232421875)
#: Below this version of ONNX softmax is of a matrix.
_SOFTMAX_OF_AXIS = 13


def _prelu(node: Node, x: Tensor, slope: Tensor) -> Tensor:
    if slope.numel() == 1:
        return functional.prelu(x, slope.reshape(1))
    wide = (1,) * (x.dim() - slope.dim()) + tuple(slope.shape)
    if x.dim() > 1 and slope.numel() == wide[1] == x.shape[1]:
        return functional.prelu(x, slope.reshape(-1))
    return torch.where(x < 0, x * slope, x)


def _leaky(node: Node, x: Tensor) -> Tensor:
    return functional.leaky_relu(x, node.attr("alpha", 0.01))


def _hard_sigmoid(node: Node, x: Tensor) -> Tensor:
    alpha, beta = node.attr("alpha", 0.2), node.attr("beta", 0.5)
    if abs(alpha - 1 / 6) < 1e-6 and beta == 0.5:
        return functional.hardsigmoid(x)
    return torch.clamp(x * alpha + beta, 0.0, 1.0)


def _gelu(node: Node, x: Tensor) -> Tensor:
    return functional.gelu(x, approximate=node.text("approximate", "none"))


def _elu(node: Node, x: Tensor) -> Tensor:
    return functional.elu(x, node.attr("alpha", 1.0))


def _selu(node: Node, x: Tensor) -> Tensor:
    alpha, gamma = (node.attr(n, d) for n, d in zip(("alpha", "gamma"), _SELU, strict=True))
    if abs(alpha - _SELU[0]) < 1e-6 and abs(gamma - _SELU[1]) < 1e-6:
        return functional.selu(x)
    scaled: Tensor = functional.elu(x, alpha) * gamma
    return scaled


def _celu(node: Node, x: Tensor) -> Tensor:
    return functional.celu(x, node.attr("alpha", 1.0))


def _swish(node: Node, x: Tensor) -> Tensor:
    alpha = node.attr("alpha", 1.0)
    return functional.silu(x) if alpha == 1.0 else x * torch.sigmoid(x * alpha)


def _thresholded(node: Node, x: Tensor) -> Tensor:
    return functional.threshold(x, node.attr("alpha", 1.0), 0.0)


def _softmax(function: Callable[..., Tensor]) -> Callable[[Node, Tensor], Tensor]:
    def translate(node: Node, x: Tensor) -> Tensor:
        if node.opset >= _SOFTMAX_OF_AXIS:
            return function(x, dim=node.attr("axis", -1))
        axis = node.attr("axis", 1) % max(x.dim(), 1)
        if axis == x.dim() - 1:
            return function(x, dim=-1)
        return function(x.flatten(axis), dim=-1).reshape(x.shape)

    return translate


#: ONNX operator -> its translation.
OPERATORS: dict[str, Callable[..., Any]] = {
    "Relu": one(torch.relu),
    "PRelu": _prelu,
    "LeakyRelu": _leaky,
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": one(functional.hardswish),
    "Sigmoid": one(torch.sigmoid),
    "Tanh": one(torch.tanh),
    "Softmax": _softmax(torch.softmax),
    "LogSoftmax": _softmax(torch.log_softmax),
    "Gelu": _gelu,
    "Elu": _elu,
    "Selu": _selu,
    "Celu": _celu,
    "Softplus": one(functional.softplus),
    "Softsign": one(functional.softsign),
    "Mish": one(functional.mish),
    "Swish": _swish,
    "ThresholdedRelu": _thresholded,
}
