"""A translation is believed if another program computes the same, operator by operator.

Each step gets the other program's own inputs, so that a level or a sign that rounding decides
otherwise does not make what is behind it differ.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from bnn_compiler.errors import ModelError
from bnn_compiler.frontend.onnx import qonnx, reference
from bnn_compiler.frontend.onnx.file import OnnxFile
from bnn_compiler.frontend.onnx.node import Node
from bnn_compiler.frontend.onnx.translate import OnnxNetwork, run

#: How far a float may be from the other program's, of the largest value of its tensor.
_SAME = 1e-4
#: How near the middle of two levels a quotient is that may be either of them.
_NEAR = 1e-3
#: The share of levels behind sums that may be the next one.
_FEW = 0.01


def demand(file: OnnxFile, network: OnnxNetwork, examples: Sequence[torch.Tensor]) -> None:
    """Raise ModelError, naming the operator, if ``network`` is not what ``file`` computes."""
    inputs = [x.numpy(force=True) for x in examples]
    known = reference.values(file, inputs)
    known.update(zip((i.name for i in file.inputs), inputs, strict=True))
    for name, (node, constant) in network.known.items():
        _compare(file, node, name, constant.numpy(), known[name], known)
    for step in network.steps():
        given: dict[str, torch.Tensor] = {
            name: torch.from_numpy(np.array(known[name])) for name in step.sources if name in known
        }
        pairs = zip(step.node.inputs, step.places, strict=True)
        tensors = [getattr(step, b) if b else given.get(n) for n, b in pairs]
        with torch.no_grad():
            results = run(step.node, tensors)
        for name, result in zip(step.node.outputs, results, strict=False):
            if name:
                _compare(file, step.node, name, result.numpy(), known[name], known)


def _compare(
    file: OnnxFile,
    node: Node,
    name: str,
    ours: NDArray[Any],
    theirs: NDArray[Any],
    known: Mapping[str, NDArray[Any]],
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
    wrong &= ~_excused(node, apart, wrong, known)
    if wrong.any():
        what = f"{int(wrong.sum())} of {wrong.size} elements, by up to {apart[wrong].max():.3g}"
        _differ(file, node, name, what)


def _excused(
    node: Node, apart: NDArray[Any], wrong: NDArray[Any], known: Mapping[str, NDArray[Any]]
) -> NDArray[Any]:
    """Where a level may be the next one: PyTorch multiplies by 1 / scale, ONNX divides."""
    nobody = np.zeros(wrong.shape, bool)
    if not wrong.any():
        return nobody
    if node.operator.startswith("Q") and node.operator not in ("Quant", "QuantizeLinear"):
        # Of sums, which are added in another order, there is no quotient to look at.
        return (apart <= 1) if wrong.mean() <= _FEW else nobody
    is_quant = node.domain in qonnx.DOMAINS and node.operator != "BipolarQuant"
    if not is_quant and node.operator != "QuantizeLinear":
        return nobody
    scale = node.constants[1]
    x = known.get(node.inputs[0], node.constants[0])
    if scale is None or x is None:
        return nobody
    wide = scale.astype(np.float64)
    if scale.size > 1 and scale.ndim == 1 and not is_quant:
        axis = node.attr("axis", 1) % x.ndim
        wide = wide.reshape([-1 if i == axis else 1 for i in range(x.ndim)])
    quotient = x.astype(np.float64) / wide
    # Rounding modes turn around at whole numbers or in the middle of two.
    edge = np.abs(2 * quotient - np.round(2 * quotient)) / 2
    level = 1.0 if not is_quant else wide * 2.0**8 if node.operator == "Trunc" else wide
    return (edge < _NEAR) & (apart <= level * (1 + _SAME))


def _differ(file: OnnxFile, node: Node, name: str, what: str) -> None:
    raise ModelError(
        f"{file.path}: {node.title} is translated to something else than another program computes:"
        f" its output {name!r} differs ({what})"
    )
