"""Networks that were quantised elsewhere: their operators as functions of float32 values.

torch.export has them of PT2E (``quantized_decomposed``), of QAT modules (``fake_quantize``). A
number between a quantisation and its inverse stays a float here: every level is one exactly.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch.fx import Node

from bnn_compiler.errors import ModelError, UnsupportedError
from bnn_compiler.frontend.pytorch.constants import Constants
from bnn_compiler.frontend.pytorch.trace import TracedGraph, argument, describe, op_name

aten = torch.ops.aten


def _quantize(
    x: torch.Tensor, inverse: float, zero: float, low: float, high: float
) -> torch.Tensor:
    """The level of each value: a whole number in [low, high]."""
    return torch.clamp(torch.round(x * inverse) + zero, low, high)


def _fake_quantize(
    x: torch.Tensor, inverse: float, zero: float, low: float, high: float, scale: float
) -> torch.Tensor:
    """What the level of each value stands for."""
    return (_quantize(x, inverse, zero, low, high) - zero) * scale


@dataclass(frozen=True)
class _Levels:
    scale: float
    zero: float
    low: float
    high: float

    @property
    def quantize(self) -> tuple[float, ...]:
        """The arguments behind x, as ``quantized_decomposed`` computes it."""
        return (1.0 / self.scale, self.zero, self.low, self.high)

    @property
    def fake_quantize(self) -> tuple[float, ...]:
        """Of both, one after the other."""
        return (*self.quantize, self.scale)


#: Operators that quantise a tensor by one scale, and those that undo it.
_QUANTIZE, _DEQUANTIZE = "quantize_per_tensor", "dequantize_per_tensor"
#: Those that do both; the last ones have switches, their own and an observer's.
_FAKE = (
    "fake_quantize_per_tensor_affine",
    "fake_quantize_per_tensor_affine_cachemask",
    "_fake_quantize_per_tensor_affine_cachemask_tensor_qparams",
    "fused_moving_avg_obs_fake_quant",
    "_fused_moving_avg_obs_fq_helper",
    "_fused_moving_avg_obs_fq_helper_functional",
)
#: What users may know of these; the operators of single channels are of constants only.
OPERATORS = (_QUANTIZE, _DEQUANTIZE, "fake_quantize_per_tensor_affine")
#: What makes no other numbers of integers than they are.
_MOVES = (
    "view", "reshape", "_unsafe_view", "permute", "transpose", "t", "movedim", "slice",
    "select", "narrow", "squeeze", "unsqueeze", "flatten", "unflatten", "expand", "repeat",
    "tile", "clone", "contiguous", "alias", "detach", "cat", "stack", "getitem", "split",
    "split_with_sizes", "chunk", "unbind", "flip", "roll", "index", "index_select", "gather",
    "where", "max_pool1d", "max_pool2d", "adaptive_max_pool2d", "max_pool2d_with_indices",
    "amax", "amin", "max", "min", "maximum", "minimum", "clamp", "clamp_min", "clamp_max",
    "relu", "relu6", "hardtanh", "pixel_shuffle", "pixel_unshuffle", "channel_shuffle",
    "unfold", "upsample_nearest2d", "constant_pad_nd", "pad", "replication_pad2d",
    "reflection_pad2d",
)  # fmt: skip
#: Casts, which are exact to what holds the number.
_CASTS = ("to", "_to_copy")
#: Those that wrap around at numbers which occur.
_NARROW = (torch.int8, torch.uint8, torch.int16, torch.uint16)
_INTEGERS = (torch.int8, torch.uint8, torch.int16, torch.uint16, torch.int32)


def is_level(node: Node) -> bool:
    """Whether rounding decides ``node``, although it is a float."""
    return node.target in (_quantize, _fake_quantize)


def joined(traced: TracedGraph) -> TracedGraph:
    """The same network with one node for each quantisation, or for that and its inverse.

    dequantize(quantize(x, s, z), s, z)  ->  fake_quantize(x, 1 / s, z, low, high, s)
    quantize(x, s, z)                    ->  quantize(x, 1 / s, z, low, high)
    dequantize(q, s, z)                  ->  (q - z) * s

    Raises ModelError for a QAT module that still observes, UnsupportedError for sums of bytes.
    """
    if not any(op_name(n) in (_QUANTIZE, _DEQUANTIZE, *_FAKE) for n in traced.graph.nodes):
        return traced
    traced = traced.copy()
    constants = Constants(traced.graph, traced.constants)
    made: dict[tuple[Node, _Levels], Node] = {}
    for node in list(traced.graph.nodes):
        name = op_name(node)
        if name in _FAKE:
            _faked(constants, node)
        elif name == _DEQUANTIZE and _is_computed(node.args[0]):
            _dequantized(constants, node, made)
    for node in list(traced.graph.nodes):
        if op_name(node) == _QUANTIZE and _is_computed(node.args[0]):
            _quantized(constants, node)
    return traced


def _is_computed(node: Any) -> bool:
    return isinstance(node, Node) and node.op != "get_attr"


def _levels(constants: Constants, node: Node) -> _Levels | None:
    """None where one of the numbers is computed."""
    given = [argument(node, n) for n in ("scale", "zero_point", "quant_min", "quant_max")]
    found = [constants.number(v) for v in given]
    return None if None in found else _Levels(*found)  # type: ignore[arg-type]


def _dequantized(constants: Constants, node: Node, made: dict[tuple[Node, _Levels], Node]) -> None:
    source, levels = node.args[0], _levels(constants, node)
    if levels is None or not isinstance(source, Node):
        return
    both = op_name(source) == _QUANTIZE and _levels(constants, source) == levels
    if both:
        key = (source, levels)
        if key not in made:
            made[key] = _insert(node, _fake_quantize, (source.args[0], *levels.fake_quantize))
        _replace(node, made[key])
        if not source.users:
            node.graph.erase_node(source)
        return
    less = _insert(node, aten.sub.Tensor, (source, levels.zero))
    _replace(node, _insert(node, aten.mul.Tensor, (less, levels.scale)))


def _quantized(constants: Constants, node: Node) -> None:
    levels = _levels(constants, node)
    if levels is None or any(user.op == "output" for user in node.users):
        return
    made = _insert(node, _quantize, (node.args[0], *levels.quantize))
    made.meta["val"] = node.meta["val"].to(torch.float32)
    dtype = node.meta["val"].dtype
    _replace(node, made)
    _widen(made, dtype)


def _widen(node: Node, dtype: torch.dtype) -> None:
    """What is made of integers, of ``dtype``, that are floats now is float too.

    Raises UnsupportedError for arithmetic that wraps around in PyTorch.
    """
    for user in node.users:
        value = user.meta.get("val")
        if isinstance(value, torch.Tensor) and value.dtype in _INTEGERS:
            _check_wrap(user, dtype, value.dtype)
            user.meta["val"] = value.to(torch.float32)
            _widen(user, value.dtype)


def _check_wrap(node: Node, before: torch.dtype, after: torch.dtype) -> None:
    name = op_name(node)
    holds = torch.promote_types(before, after) == after
    if name in _MOVES or after not in _NARROW or (name in _CASTS and holds):
        return
    kind = str(after).removeprefix("torch.")
    raise UnsupportedError(
        f"{describe(node)} makes {kind} numbers between quantize and dequantize, which wrap around"
        " in PyTorch; dequantize first, or compute in int32 (x.to(torch.int32)) up to dequantize"
    )


def _faked(constants: Constants, node: Node) -> None:
    results = [u for u in node.users if op_name(u) == "getitem"]
    first = next((u for u in results if u.args[1] == 0), None) if results else node
    if first is None or any(u.users for u in results if u is not first):
        return
    if not _is_computed(node.args[0]) or argument(node, "per_row_fake_quant"):
        return
    levels = _levels(constants, node)
    observes, on = (
        constants.number(argument(node, n)) != 0 for n in ("observer_on", "fake_quant_on")
    )
    if observes and argument(node, "observer_on") is not None:
        raise ModelError(
            f"{describe(node)} still observes the ranges of its input; before it is compiled:"
            " model.apply(torch.ao.quantization.disable_observer)"
        )
    if on and levels is None:
        return
    made = node.args[0]
    if on and levels is not None:
        # PyTorch's kernel has the inverse of the float32.
        inverse = float(1 / torch.tensor(levels.scale, dtype=torch.float32))
        made = _insert(node, _fake_quantize, (made, inverse, *levels.fake_quantize[1:]))
        made.meta["val"] = first.meta["val"]
    assert isinstance(made, Node), "it is computed"
    _replace(first, made)
    for one in (*(u for u in results if u is not first), *([node] if results else [])):
        node.graph.erase_node(one)


def _insert(node: Node, target: Callable[..., Any], args: tuple[Any, ...]) -> Node:
    """A call in front of ``node``, of a value like its."""
    with node.graph.inserting_before(node):
        made = node.graph.call_function(target, args)
    made.meta = {**node.meta, "origin": made.name}
    return made


def _replace(node: Node, by: Node) -> None:
    node.replace_all_uses_with(by)
    node.graph.erase_node(node)
