"""Element-wise arithmetic, comparisons and logic."""

from collections.abc import Callable
from functools import reduce
from typing import Any

import torch
from torch import Tensor

from bnn_compiler.frontend.onnx.node import Node, scalar

Handler = Callable[..., Any]


def one(function: Callable[[Tensor], Tensor]) -> Handler:
    """Of an operator of one tensor without attributes."""

    def translate(node: Node, x: Tensor) -> Tensor:
        return function(x)

    return translate


def two(function: Callable[..., Tensor]) -> Handler:
    """Of an operator of two tensors that broadcast."""

    def translate(node: Node, a: Tensor, b: Tensor) -> Tensor:
        return function(a, scalar(node, 1, b, a.dim()))

    return translate


def both(function: Callable[..., Tensor]) -> Handler:
    """The same, the first of which may be a number too, as an operator of Python has them."""

    def translate(node: Node, a: Tensor, b: Tensor) -> Tensor:
        left, right = scalar(node, 0, a, b.dim()), scalar(node, 1, b, a.dim())
        # Of two numbers one stays a tensor.
        return function(a if not isinstance(right, Tensor) else left, right)

    return translate


def many(function: Callable[[Tensor, Tensor], Tensor]) -> Handler:
    """Of an operator of any number of tensors."""

    def translate(node: Node, *tensors: Tensor) -> Tensor:
        return reduce(function, tensors)

    return translate


def _div(node: Node, a: Tensor, b: Tensor) -> Tensor:
    if not a.is_floating_point():
        return torch.div(a, b, rounding_mode="trunc")
    result: Tensor = both(lambda x, y: x / y)(node, a, b)
    return result


def _mod(node: Node, a: Tensor, b: Tensor) -> Tensor:
    return torch.fmod(a, b) if node.attr("fmod", 0) else torch.remainder(a, b)


def _pow(node: Node, a: Tensor, b: Tensor) -> Tensor:
    exponent = scalar(node, 1, b, a.dim())
    if isinstance(exponent, Tensor) and exponent.dtype != a.dtype:
        exponent = exponent.to(a.dtype)
    return torch.pow(a, exponent)


def _mean(node: Node, *tensors: Tensor) -> Tensor:
    return reduce(torch.add, tensors) / len(tensors)


def _clip(node: Node, x: Tensor, low: Tensor | None = None, high: Tensor | None = None) -> Tensor:
    bounds = (
        None if t is None else node.known(i) if node.known(i) is not None else t
        for i, t in ((1, low), (2, high))
    )
    given: list[Any] = list(bounds)
    if given == [None, None]:
        return x
    return torch.clamp(x, *given)


#: ONNX operator -> its translation.
OPERATORS: dict[str, Handler] = {
    "Add": both(lambda a, b: a + b),
    "Sub": both(lambda a, b: a - b),
    "Mul": both(lambda a, b: a * b),
    "Div": _div,
    "Mod": _mod,
    "Pow": _pow,
    "Min": many(torch.minimum),
    "Max": many(torch.maximum),
    "Sum": many(torch.add),
    "Mean": _mean,
    "Clip": _clip,
    "Neg": one(torch.neg),
    "Abs": one(torch.abs),
    "Sign": one(torch.sign),
    "Sqrt": one(torch.sqrt),
    "Exp": one(torch.exp),
    "Log": one(torch.log),
    "Reciprocal": one(torch.reciprocal),
    "Floor": one(torch.floor),
    "Ceil": one(torch.ceil),
    "Round": one(torch.round),
    "Sin": one(torch.sin),
    "Cos": one(torch.cos),
    "Tan": one(torch.tan),
    "Asin": one(torch.asin),
    "Acos": one(torch.acos),
    "Atan": one(torch.atan),
    "Sinh": one(torch.sinh),
    "Cosh": one(torch.cosh),
    "Erf": one(torch.erf),
    "Equal": two(torch.eq),
    "Less": two(torch.lt),
    "LessOrEqual": two(torch.le),
    "Greater": two(torch.gt),
    "GreaterOrEqual": two(torch.ge),
    "Not": one(torch.logical_not),
    "And": two(torch.logical_and),
    "Or": two(torch.logical_or),
    "Xor": two(torch.logical_xor),
    "Where": lambda node, c, a, b: torch.where(c, a, b),
}
