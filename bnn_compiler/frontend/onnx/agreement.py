"""A translation is believed if another program computes the same, operator by operator.

Each step gets the other program's own inputs, so that a level or a sign that rounding decides
otherwise does not make what is behind it differ.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bnn_compiler.errors import ModelError
from bnn_compiler.frontend.onnx import qoperator, reference
from bnn_compiler.frontend.onnx.file import OnnxFile
from bnn_compiler.frontend.onnx.node import Node
from bnn_compiler.frontend.onnx.translate import OnnxNetwork, run

#: How far a float may be from the other program's, of the largest value of its tensor.
_SAME = 1e-4
#: How near the middle of two levels a quotient is that may be either of them.
_NEAR = 1e-3
#: Operators of QONNX that round.
_QUANTISERS = ("Quant", "IntQuant", "Trunc")


def demand(file: OnnxFile, network: OnnxNetwork, examples: Sequence[torch.Tensor]) -> None:
    """Raise ModelError, naming the operator, if ``network`` is not what ``file`` computes."""
    inputs = [x.numpy(force=True) for x in examples]
    known = reference.values(file, inputs)
    known.update(zip((i.name for i in file.inputs), inputs, strict=True))
    for name, (node, constant) in network.known.items():
        held = [None if c is None else torch.from_numpy(c) for c in node.constants]
        _compare(file, node, name, held, constant.numpy(), known[name])
    for step in network.steps():
        given = {
            name: torch.from_numpy(np.array(known[name])) for name in step.sources if name in known
        }
        pairs = zip(step.node.inputs, step.places, strict=True)
        tensors = [getattr(step, b) if b else given.get(n) for n, b in pairs]
        with torch.no_grad():
            results = run(step.node, tensors)
        for name, result in zip(step.node.outputs, results, strict=False):
            if name:
                _compare(file, step.node, name, tensors, result.numpy(), known[name])


def _compare(
    file: OnnxFile,
    node: Node,
    name: str,
    inputs: Sequence[Tensor | None],
    ours: NDArray[Any],
    theirs: NDArray[Any],
) -> None:
    if ours.shape != theirs.shape:
        _differ(file, node, name, f"shape {list(ours.shape)} for {list(theirs.shape)}")
    if ours.dtype != theirs.dtype:
        _differ(file, node, name, f"{ours.dtype} for {theirs.dtype}")
    if not ours.size:
        return
    a, b = ours.astype(np.float64), theirs.astype(np.float64)
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    with np.errstate(invalid="ignore"):
        apart = np.where(same, 0.0, np.abs(a - b))
    apart = np.nan_to_num(apart, nan=np.inf)
    if ours.dtype.kind == "f":
        finite = np.abs(b[np.isfinite(b)])
        wrong = apart > _SAME * (finite.max() if finite.size else 1.0)
    else:
        wrong = apart > 0
    if wrong.any():
        wrong &= ~_excused(node, inputs, apart)
    if wrong.any():
        what = f"{int(wrong.sum())} of {wrong.size} elements, by up to {apart[wrong].max():.3g}"
        _differ(file, node, name, what)


def _excused(node: Node, inputs: Sequence[Tensor | None], apart: NDArray[Any]) -> NDArray[Any]:
    """Where a level may be the next one: rounding decides, and PyTorch's is another one.

    It multiplies by 1 / scale where ONNX divides, and adds sums in another order.
    """
    found = _quotient(node, inputs)
    if found is None:
        return np.zeros(apart.shape, bool)
    quotient, level = found
    near = _NEAR * np.maximum(1.0, np.abs(quotient) / 256)
    return np.asarray((_from_edge(node, quotient) < near) & (apart <= level * (1 + _SAME)))


def _from_edge(node: Node, quotient: NDArray[Any]) -> NDArray[Any]:
    """How far it is to where the level changes: the middle of two numbers, or one of them."""
    mode = node.text("rounding_mode", "ROUND").upper()
    from_whole: NDArray[Any] = np.abs(quotient - np.rint(quotient))
    if node.operator == "Trunc":
        return np.asarray(np.minimum(from_whole, 0.5 - from_whole))
    halves = mode == "ROUND" or mode.startswith("HALF")
    return np.asarray(0.5 - from_whole) if halves else from_whole


def _quotient(
    node: Node, inputs: Sequence[Tensor | None]
) -> tuple[NDArray[Any], NDArray[Any] | float] | None:
    """What an operator rounds to levels, and how large one is in its result; None for others."""
    real, position = inputs[0] if inputs else None, 1
    if node.operator in qoperator.REAL:
        function, position = qoperator.REAL[node.operator]
        real = function(node, *inputs)
    elif node.operator != "QuantizeLinear" and node.operator not in _QUANTISERS:
        return None
    scale = node.constants[position] if node.has(position) else None
    if scale is None or real is None:
        return None
    x, wide = real.numpy().astype(np.float64), scale.astype(np.float64)
    if node.operator == "QuantizeLinear" and scale.size > 1:
        axis = node.attr("axis", 1) % x.ndim
        wide = wide.reshape([-1 if i == axis else 1 for i in range(x.ndim)])
    if node.operator not in _QUANTISERS:
        return x / wide, 1.0
    zero = node.constants[2]
    quotient = x / wide + (0.0 if zero is None else zero.astype(np.float64))
    if node.operator != "Trunc":
        return quotient, wide
    # Its first rounding decides the second one: levels of the result are at most these.
    left = node.constants[4] if len(node.inputs) > 5 else None
    bits = [c for c in node.constants[3:5] if c is not None]
    less = float(bits[0].reshape(-1)[0] - bits[-1].reshape(-1)[0])
    return quotient, wide * 2.0**less if left is None else np.maximum(left.astype(np.float64), wide)


def _differ(file: OnnxFile, node: Node, name: str, what: str) -> None:
    raise ModelError(
        f"{file.path}: {node.title} is translated to something else than another program computes:"
        f" its output {name!r} differs ({what})"
    )
