"""QONNX: quantisation to any number of bits, from float to float."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from bnn_compiler.frontend.onnx.node import Node, scalar
from bnn_compiler.frontend.onnx.quantization import quantized_decomposed

#: The domains that exporters write them with.
DOMAINS = ("qonnx.custom_op.general", "onnx.brevitas", "finn.custom_op.general")

_ROUND: dict[str, Callable[[Tensor], Tensor]] = {
    "ROUND": torch.round,
    "HALF_EVEN": torch.round,
    "CEIL": torch.ceil,
    "FLOOR": torch.floor,
    "UP": lambda x: torch.sign(x) * torch.ceil(torch.abs(x)),
    "DOWN": torch.trunc,
    "ROUND_TO_ZERO": torch.trunc,
    "HALF_UP": lambda x: torch.sign(x) * torch.floor(torch.abs(x) + 0.5),
    "HALF_DOWN": lambda x: torch.sign(x) * torch.ceil(torch.abs(x) - 0.5),
}
#: What holds levels of at most this many bits, signed or not.
_HOLDS = ((8, torch.int8, torch.uint8), (16, torch.int16, torch.uint16))


def _bits(node: Node, position: int) -> int:
    bits = float(node.constant(position, "bit width").reshape(-1)[0])
    if bits < 1 or not bits.is_integer():
        raise node.wrong(f"a bit width of {bits:g}; it is a whole number from 1 on")
    return int(bits)


def _range(node: Node, bits: int) -> tuple[int, int]:
    narrow = int(bool(node.attr("narrow", 0)))
    if node.attr("signed", 1):
        return -(2 ** (bits - 1)) + narrow, 2 ** (bits - 1) - 1
    return 0, 2**bits - 1 - narrow


def _rounding(node: Node, default: str) -> Callable[[Tensor], Tensor]:
    mode = node.text("rounding_mode", default).upper()
    if mode not in _ROUND:
        raise node.fail(f"rounding_mode {mode!r}; known: {', '.join(_ROUND)}")
    return _ROUND[mode]


def _quant(node: Node, x: Tensor, scale: Tensor, zero: Tensor, bits: Tensor) -> Tensor:
    count = _bits(node, 3)
    low, high = _range(node, count)
    step, offset = node.known(1), node.known(2)
    rounding = _rounding(node, "ROUND")
    whole = offset is not None and float(offset).is_integer() and low <= offset <= high
    holds = next((row for row in _HOLDS if row[0] >= count), None)
    if high - low == 1 and rounding is torch.round:
        return _one_bit(node, x, scale, zero, low)
    is_pair = whole and step and rounding is torch.round
    if node.constants[0] is None and holds is not None and is_pair:
        dtype = holds[1] if node.attr("signed", 1) else holds[2]
        numbers = step, int(offset or 0), low, high, dtype
        levels = quantized_decomposed()
        made: Tensor = levels.dequantize_per_tensor(
            levels.quantize_per_tensor(x, *numbers), *numbers
        )
        return made
    by, at = scalar(node, 1, scale, x.dim()), scalar(node, 2, zero, x.dim())
    level = rounding(torch.clamp(x / by + at, low, high))
    meant: Tensor = (level - at) * by
    return meant


def _one_bit(node: Node, x: Tensor, scale: Tensor, zero: Tensor, low: int) -> Tensor:
    """A comparison with the middle of both levels, which is the even one of them."""
    by, at = scalar(node, 1, scale, x.dim()), scalar(node, 2, zero, x.dim())
    middle = (low + 0.5 - at) * by
    above: Tensor = x >= middle if low % 2 else x > middle
    return torch.where(above, (low + 1.0 - at) * by, (low - at) * by)


def _bipolar(node: Node, x: Tensor, scale: Tensor) -> Tensor:
    signs = torch.where(x >= 0, 1.0, -1.0)
    result: Tensor = signs * scalar(node, 1, scale, x.dim())
    return result


def _trunc(node: Node, x: Tensor, scale: Tensor, zero: Tensor, *more: Tensor) -> Tensor:
    by, at = scalar(node, 1, scale, x.dim()), scalar(node, 2, zero, x.dim())
    rounding = _rounding(node, "FLOOR")
    level = torch.round(x / by + at)
    if len(more) == 2:
        less = 2.0 ** (_bits(node, 3) - _bits(node, 4))
        kept: Tensor = (rounding(level / less) - at) * by
        return kept
    # Version 2 has the scale of what is left.
    step, left = node.known(1), node.known(4)
    if not step or not left:
        raise node.fail("scales that differ by channel, or are computed at run time")
    less = 2.0 ** round(float(torch.log2(torch.tensor(left / step))))
    low, high = _range(node, _bits(node, 5))
    kept = (rounding(torch.clamp(level / less, low, high)) - at / less) * left
    return kept


#: Operator of QONNX -> its translation.
OPERATORS: dict[str, Callable[..., Any]] = {
    "Quant": _quant,
    "IntQuant": _quant,
    "BipolarQuant": _bipolar,
    "Trunc": _trunc,
}
