"""Resize: nearest by indices that are known, linear as torch has it."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from bnn_compiler.frontend.onnx.node import Node, array

_LINEAR = {1: "linear", 2: "bilinear", 3: "trilinear"}
_ROUND: dict[str, Callable[[NDArray[Any]], NDArray[Any]]] = {
    "round_prefer_floor": lambda x: np.ceil(x - 0.5),
    "round_prefer_ceil": lambda x: np.floor(x + 0.5),
    "floor": np.floor,
    "ceil": np.ceil,
}


def _resize(
    node: Node,
    x: Tensor,
    roi: Tensor | None = None,
    scales: Tensor | None = None,
    sizes: Tensor | None = None,
) -> Tensor:
    axes = [a % x.dim() for a in node.attr("axes") or range(x.dim())]
    by, to = _scales(node, x, axes)
    if node.attr("antialias", 0) or node.text("keep_aspect_ratio_policy", "stretch") != "stretch":
        raise node.fail("antialias and kept aspect ratios cannot be compiled")
    mode = node.text("mode", "nearest")
    if mode == "nearest":
        return _nearest(node, x, by, to)
    changed = [a for a in range(x.dim()) if to[a] != x.shape[a]]
    if mode not in ("linear", "cubic") or any(a < 2 for a in changed) or x.dim() not in (3, 4, 5):
        raise node.fail(f"mode {mode!r} of axes {changed} of {x.dim()}")
    if not changed:
        return x
    how = node.text("coordinate_transformation_mode", "half_pixel")
    if how not in ("half_pixel", "pytorch_half_pixel", "align_corners"):
        raise node.fail(
            f"coordinates {how!r} of mode {mode!r}; half_pixel and align_corners can be"
        )
    name = "bicubic" if mode == "cubic" else _LINEAR[x.dim() - 2]
    if mode == "cubic" and (x.dim() != 4 or node.attr("exclude_outside", 0)):
        raise node.fail("cubic other than of images [N, C, H, W]")
    if how != "align_corners" and any(to[a] != by[a] * x.shape[a] for a in changed):
        # Factors that cut a part of a pixel off: coordinates are theirs, not the sizes'.
        return functional.interpolate(
            x, scale_factor=by[2:], mode=name, align_corners=False, recompute_scale_factor=False
        )
    return functional.interpolate(x, to[2:], mode=name, align_corners=how == "align_corners")


def _scales(node: Node, x: Tensor, axes: Sequence[int]) -> tuple[list[float], list[int]]:
    """The factor and the size of every axis."""
    by, to = [1.0] * x.dim(), list(x.shape)
    given = node.constants[2] if node.has(2) else None
    if given is not None and given.size:
        for axis, factor in zip(axes, given.reshape(-1), strict=True):
            by[axis], to[axis] = float(factor), int(np.floor(x.shape[axis] * float(factor)))
        return by, to
    if node.has(3):
        for axis, size in zip(axes, node.integers(3, "sizes"), strict=True):
            by[axis], to[axis] = size / x.shape[axis], size
        return by, to
    node.constant(2, "scales")
    raise node.wrong("it has neither scales nor sizes")


def _nearest(node: Node, x: Tensor, by: Sequence[float], to: Sequence[int]) -> Tensor:
    indices = {
        axis: _indices(node, x.shape[axis], by[axis], to[axis])
        for axis in range(x.dim())
        if to[axis] != x.shape[axis] or by[axis] != 1.0
    }
    spatial = [indices.get(a, np.arange(to[a])) for a in range(2, x.dim())]
    if x.dim() == 4 and not any(a in indices for a in (0, 1)):
        for mode, centre in (("nearest", 0.0), ("nearest-exact", 0.5)):
            torchs = [np.floor((np.arange(to[a]) + centre) * (x.shape[a] / to[a])) for a in (2, 3)]
            if all(np.array_equal(a, b) for a, b in zip(spatial, torchs, strict=True)):
                return functional.interpolate(x, to[2:], mode=mode)
    for axis, index in indices.items():
        x = x.index_select(axis, torch.from_numpy(array(index)))
    return x


def _indices(node: Node, size: int, by: float, to: int) -> NDArray[Any]:
    """Which element each of ``to`` ones is, of ``size``."""
    how = node.text("coordinate_transformation_mode", "half_pixel")
    places = np.arange(to, dtype=np.float64)
    if how == "asymmetric":
        found = places / by
    elif how in ("half_pixel", "pytorch_half_pixel"):
        single = how == "pytorch_half_pixel" and to == 1
        found = np.zeros(to) if single else (places + 0.5) / by - 0.5
    elif how == "align_corners":
        found = places * (size - 1) / (to - 1) if to > 1 else np.zeros(to)
    else:
        raise node.fail(f"coordinates {how!r} cannot be compiled")
    rounding = node.text("nearest_mode", "round_prefer_floor")
    if rounding not in _ROUND:
        raise node.wrong(f"nearest_mode {rounding!r}; ONNX knows {', '.join(_ROUND)}")
    return array(np.clip(_ROUND[rounding](found), 0, size - 1))


#: ONNX operator -> its translation.
OPERATORS: dict[str, Callable[..., Any]] = {"Resize": _resize}
