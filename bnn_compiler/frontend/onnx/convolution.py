"""Convolutions and matrix products."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from bnn_compiler.frontend.onnx.node import Node
from bnn_compiler.frontend.onnx.window import Window, by_rank


def conv(node: Node, x: Tensor, w: Tensor, bias: Tensor | None = None) -> Tensor:
    """Conv, of one to three dimensions."""
    window = Window.of(node, w.shape[2:], x.shape[2:])
    function: Any = by_rank(node, w.dim() - 2, "conv{}d")
    padding = window.before
    if not window.is_symmetric:
        x, padding = window.padded(x), (0,) * len(padding)
    result: Tensor = function(
        x, w, bias, window.strides, padding, window.dilations, node.attr("group", 1)
    )
    return result


def _conv_transpose(node: Node, x: Tensor, w: Tensor, bias: Tensor | None = None) -> Tensor:
    rank = w.dim() - 2
    auto = node.text("auto_pad", "NOTSET")
    window = Window.of(_without_auto(node), w.shape[2:], x.shape[2:])
    extra = tuple(node.attr("output_padding") or (0,) * rank)
    before, behind = window.before, window.behind
    wanted = node.attr("output_shape")
    if wanted is None and auto.startswith("SAME"):
        wanted = [n * s for n, s in zip(x.shape[2:], window.strides, strict=True)]
    if wanted:
        full = [
            (n - 1) * s + (k - 1) * d + 1 + e
            for n, s, k, d, e in zip(
                x.shape[2:], window.strides, window.kernel, window.dilations, extra, strict=True
            )
        ]
        total = [f - int(n) for f, n in zip(full, wanted[-rank:], strict=True)]
        if min(total) < 0:
            raise node.fail(f"output_shape {list(wanted)} is larger than its sums reach")
        less, more = tuple(t // 2 for t in total), tuple(t - t // 2 for t in total)
        before, behind = (less, more) if auto == "SAME_UPPER" else (more, less)
    function: Any = by_rank(node, rank, "conv_transpose{}d")
    # Padding takes away; the smaller one is of both sides.
    padding = tuple(min(pair) for pair in zip(before, behind, strict=True))
    y: Tensor = function(
        x, w, bias, window.strides, padding, extra, node.attr("group", 1), window.dilations
    )
    for axis, (first, last, both) in enumerate(zip(before, behind, padding, strict=True), 2):
        if (first, last) != (both, both):
            y = y.narrow(axis, first - both, y.shape[axis] - first - last + 2 * both)
    return y


def _without_auto(node: Node) -> Node:
    """What auto_pad means is another thing for a transposed convolution."""
    kept = {k: v for k, v in node.attributes.items() if k != "auto_pad"}
    return Node(
        node.name, node.operator, node.domain, node.opset, kept, node.constants, node.inputs
    )


def gemm(node: Node, a: Tensor, b: Tensor, c: Tensor | None = None) -> Tensor:
    """Gemm: alpha * a @ b + beta * c."""
    a = a.t() if node.attr("transA", 0) else a
    rows = b if node.attr("transB", 0) else b.t()
    alpha, beta = node.attr("alpha", 1.0), node.attr("beta", 1.0)
    if alpha == 1.0 and beta == 1.0 and c is not None and c.dim() == 1 and len(c) == len(rows):
        return functional.linear(a, rows, c)
    y = functional.linear(a, rows)
    y = y if alpha == 1.0 else y * alpha
    if c is None:
        return y
    return y + (c if beta == 1.0 else c * beta)


def _matmul(node: Node, a: Tensor, b: Tensor) -> Tensor:
    if node.constants[1] is not None and b.dim() == 2:
        return functional.linear(a, b.t())
    return torch.matmul(a, b)


def _einsum(node: Node, *tensors: Tensor) -> Tensor:
    return torch.einsum(node.text("equation", ""), *tensors)


#: ONNX operator -> its translation.
OPERATORS: dict[str, Callable[..., Any]] = {
    "Conv": conv,
    "ConvTranspose": _conv_transpose,
    "Gemm": gemm,
    "MatMul": _matmul,
    "Einsum": _einsum,
}
