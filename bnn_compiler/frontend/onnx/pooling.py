"""Pools."""

from collections.abc import Callable
from math import prod
from typing import Any

import torch
from torch import Tensor

from bnn_compiler.frontend.onnx.node import Node
from bnn_compiler.frontend.onnx.window import Window, by_rank


def _window(node: Node, x: Tensor) -> Window:
    kernel = node.attr("kernel_shape")
    if not kernel:
        raise node.wrong("it has no kernel_shape")
    return Window.of(node, [int(k) for k in kernel], x.shape[2:])


def _fits(window: Window) -> bool:
    """Whether torch's own padding does: the same on both sides, at most half of the kernel."""
    halves = all(2 * p <= k for p, k in zip(window.before, window.kernel, strict=True))
    return window.is_symmetric and halves


def _max_pool(node: Node, x: Tensor) -> Tensor:
    window = _window(node, x)
    ceil = bool(node.attr("ceil_mode", 0))
    function: Any = by_rank(node, len(window.kernel), "max_pool{}d")
    padding = window.before
    if not _fits(window):
        if ceil:
            raise node.fail("ceil_mode with padding that differs from side to side")
        x, padding = window.padded(x, -torch.inf), (0,) * len(padding)
    result: Tensor = function(x, window.kernel, window.strides, padding, window.dilations, ceil)
    return result


def average_pool(node: Node, x: Tensor) -> Tensor:
    """AveragePool, of one to three dimensions."""
    window = _window(node, x)
    if any(d != 1 for d in window.dilations):
        raise node.fail(f"an average of dilations {list(window.dilations)}")
    ceil, counts = bool(node.attr("ceil_mode", 0)), bool(node.attr("count_include_pad", 0))
    function: Any = by_rank(node, len(window.kernel), "avg_pool{}d")
    args = (window.kernel, window.strides)
    result: Tensor
    if _fits(window):
        result = function(x, *args, window.before, ceil, counts)
        return result
    if ceil:
        raise node.fail("ceil_mode with padding that differs from side to side")
    result = function(window.padded(x), *args)
    if counts:
        return result
    inside: Tensor = function(window.padded(torch.ones(1, 1, *x.shape[2:])), *args)
    return result / inside


def _global(function: Callable[..., Tensor]) -> Callable[[Node, Tensor], Tensor]:
    def translate(node: Node, x: Tensor) -> Tensor:
        return function(x, tuple(range(2, x.dim())), True)

    return translate


def _lp_pool(node: Node, x: Tensor) -> Tensor:
    window = _window(node, x)
    function: Any = by_rank(node, len(window.kernel), "avg_pool{}d")
    if node.attr("p", 2) != 2 or node.attr("ceil_mode", 0) or any(d != 1 for d in window.dilations):
        raise node.fail("only p = 2 without dilations and ceil_mode can be compiled")
    mean: Tensor = function(window.padded(x * x), window.kernel, window.strides)
    return torch.sqrt(mean * float(prod(window.kernel)))


#: ONNX operator -> its translation.
OPERATORS: dict[str, Callable[..., Any]] = {
    "MaxPool": _max_pool,
    "AveragePool": average_pool,
    "LpPool": _lp_pool,
    "GlobalAveragePool": _global(torch.mean),
    "GlobalMaxPool": _global(torch.amax),
}
