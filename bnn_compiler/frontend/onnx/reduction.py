"""Sums, means and extremes along axes, and what finds their places."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from bnn_compiler.frontend.onnx.node import Node

Reduce = Callable[[Tensor, tuple[int, ...], bool], Tensor]


def _prod(x: Tensor, axes: tuple[int, ...], keep: bool) -> Tensor:
    for axis in sorted((a % x.dim() for a in axes), reverse=True):
        x = torch.prod(x, axis, keep)
    return x


def _reduce(function: Reduce) -> Callable[..., Tensor]:
    def translate(node: Node, x: Tensor, axes: Tensor | None = None) -> Tensor:
        over = node.axes()
        if not over and node.attr("noop_with_empty_axes", 0):
            return x
        return function(x, tuple(over or range(x.dim())), bool(node.attr("keepdims", 1)))

    return translate


def _arg(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def translate(node: Node, x: Tensor) -> Tensor:
        if node.attr("select_last_index", 0):
            raise node.fail("the last of equal elements; only the first can be found")
        return function(x, node.attr("axis", 0), bool(node.attr("keepdims", 1)))

    return translate


def _top_k(node: Node, x: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
    count = node.integers(1, "k")[0]
    largest, ordered = bool(node.attr("largest", 1)), bool(node.attr("sorted", 1))
    values, indices = torch.topk(x, count, node.attr("axis", -1), largest, ordered)
    return values, indices


def _cum_sum(node: Node, x: Tensor, axis: Tensor) -> Tensor:
    along = node.integers(1, "axis")[0]
    if node.attr("reverse", 0):
        x = x.flip(along)
    # PyTorch's own sum of small integers is int64.
    y = torch.cumsum(x, along, dtype=x.dtype)
    if node.attr("exclusive", 0):
        y = y - x
    return y.flip(along) if node.attr("reverse", 0) else y


#: ONNX operator -> its translation.
OPERATORS: dict[str, Callable[..., Any]] = {
    "ReduceMean": _reduce(torch.mean),
    "ReduceSum": _reduce(torch.sum),
    "ReduceMax": _reduce(torch.amax),
    "ReduceMin": _reduce(torch.amin),
    "ReduceProd": _reduce(_prod),
    "ReduceL1": _reduce(lambda x, axes, keep: torch.sum(torch.abs(x), axes, keep)),
    "ReduceL2": _reduce(lambda x, axes, keep: torch.sqrt(torch.sum(x * x, axes, keep))),
    "ReduceSumSquare": _reduce(lambda x, axes, keep: torch.sum(x * x, axes, keep)),
    "ArgMax": _arg(torch.argmax),
    "ArgMin": _arg(torch.argmin),
    "TopK": _top_k,
    "CumSum": _cum_sum,
}
