"""QuantizeLinear and its inverse: of computed values what PT2E has, of constants arithmetic."""

import importlib
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from bnn_compiler.frontend.onnx.constants import DTYPES
from bnn_compiler.frontend.onnx.node import Node

#: Levels of a dtype.
_INTEGERS = (torch.int8, torch.uint8, torch.int16, torch.uint16)


def quantized_decomposed() -> Any:
    """PyTorch's operators of levels; their module registers them."""
    importlib.import_module("torch.ao.quantization.fx._decomposed")
    return torch.ops.quantized_decomposed


def quantize(
    node: Node, x: Tensor, scale: int, zero: int, dtype: torch.dtype, axis: int = 1
) -> Tensor:
    """The levels of ``x``; ``scale`` and ``zero`` are positions of inputs.

    Raises UnsupportedError for computed scales, and scales of channels of computed values.
    """
    info = torch.iinfo(dtype)
    step = node.constant(scale, "scale")
    zeros = node.constant(zero, "zero point") if node.has(zero) else None
    if step.size == 1:
        offset = 0 if zeros is None else int(zeros.reshape(-1)[0])
        numbers = float(step.reshape(-1)[0]), offset, info.min, info.max, dtype
        made: Tensor = quantized_decomposed().quantize_per_tensor(x, *numbers)
        return made
    if node.constants[0] is None:
        raise node.fail(
            f"{step.size} scales of a computed value; scales of channels are for weights only"
        )
    wide = _along(x, axis)
    level = torch.round(x / torch.from_numpy(step).reshape(wide))
    if zeros is not None:
        level = level + torch.from_numpy(zeros).reshape(wide)
    return torch.clamp(level, info.min, info.max).to(dtype)


def dequantize(node: Node, x: Tensor, position: int, axis: int = 1) -> Tensor:
    """What the levels of input ``position`` stand for; its scale and zero point are behind it.

    Raises UnsupportedError like ``quantize``.
    """
    step = node.constant(position + 1, "scale")
    has_zero = node.has(position + 2)
    zeros = node.constant(position + 2, "zero point") if has_zero else None
    if node.constants[position] is not None or x.dtype not in _INTEGERS:
        wide = _along(x, axis) if step.size > 1 else (1,) * x.dim()
        whole = x.to(torch.int64)
        if zeros is not None:
            whole = whole - torch.from_numpy(zeros).to(torch.int64).reshape(wide)
        return whole.to(torch.float32) * torch.from_numpy(step).reshape(wide)
    if step.size > 1:
        raise node.fail(
            f"{step.size} scales of a computed value; scales of channels are for weights only"
        )
    info = torch.iinfo(x.dtype)
    offset = 0 if zeros is None else int(zeros.reshape(-1)[0])
    numbers = float(step.reshape(-1)[0]), offset, info.min, info.max, x.dtype
    made: Tensor = quantized_decomposed().dequantize_per_tensor(x, *numbers)
    return made


def _along(x: Tensor, axis: int) -> tuple[int, ...]:
    """The shape of one number for each place along ``axis``."""
    return tuple(n if i == axis % x.dim() else 1 for i, n in enumerate(x.shape))


def _no_blocks(node: Node) -> None:
    if node.attr("block_size", 0):
        raise node.fail("scales of blocks; only of tensors and of channels")


def _quantize_linear(node: Node, x: Tensor, scale: Tensor, zero: Tensor | None = None) -> Tensor:
    _no_blocks(node)
    wanted = DTYPES.get(node.attr("output_dtype", 0) or 2)
    dtype = wanted if zero is None else zero.dtype
    if dtype not in _INTEGERS:
        raise node.fail(f"levels of dtype {dtype}; int8, uint8, int16 and uint16 can be")
    return quantize(node, x, 1, 2, dtype, node.attr("axis", 1))


def _dequantize_linear(node: Node, x: Tensor, scale: Tensor, zero: Tensor | None = None) -> Tensor:
    _no_blocks(node)
    return dequantize(node, x, 0, node.attr("axis", 1))


#: ONNX operator -> its translation.
OPERATORS: dict[str, Callable[..., Any]] = {
    "QuantizeLinear": _quantize_linear,
    "DequantizeLinear": _dequantize_linear,
}
