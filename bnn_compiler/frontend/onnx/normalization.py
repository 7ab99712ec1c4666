"""Normalisations."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from bnn_compiler.frontend.onnx.node import Node


def _batch(node: Node, x: Tensor, scale: Tensor, bias: Tensor, mean: Tensor, var: Tensor) -> Tensor:
    if node.attr("training_mode", 0):
        raise node.fail("batch norm by the batch's own statistics; export in inference mode")
    return functional.batch_norm(x, mean, var, scale, bias, eps=node.attr("epsilon", 1e-5))


def _layer(node: Node, x: Tensor, scale: Tensor, bias: Tensor | None = None) -> Tensor:
    axis = node.attr("axis", -1) % x.dim()
    sizes = x.shape[axis:]
    eps = node.attr("epsilon", 1e-5)
    if scale.shape == sizes and (bias is None or bias.shape == sizes):
        return functional.layer_norm(x, sizes, scale, bias, eps)
    y = functional.layer_norm(x, sizes, eps=eps) * scale
    return y if bias is None else y + bias


def _instance(node: Node, x: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    return functional.instance_norm(
        x, weight=scale, bias=bias, eps=node.attr("epsilon", 1e-5), use_input_stats=True
    )


def _group(node: Node, x: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    groups, eps = int(node.attr("num_groups")), node.attr("epsilon", 1e-5)
    return functional.group_norm(x, groups, scale, bias, eps)


def _lp(node: Node, x: Tensor) -> Tensor:
    axis, p = node.attr("axis", -1), node.attr("p", 2)
    if p == 1:
        return x / torch.sum(torch.abs(x), axis, True)
    return x / torch.sqrt(torch.sum(x * x, axis, True))


#: ONNX operator -> its translation.
OPERATORS: dict[str, Callable[..., Any]] = {
    "BatchNormalization": _batch,
    "LayerNormalization": _layer,
    "InstanceNormalization": _instance,
    "GroupNormalization": _group,
    "LpNormalization": _lp,
}
