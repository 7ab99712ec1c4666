"""Operators that move elements and make none: shapes, cuts, joins, padding."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from bnn_compiler.frontend.onnx.node import Node, array


def _reshape(node: Node, x: Tensor, shape: Tensor) -> Tensor:
    sizes = node.integers(1, "shape")
    if not node.attr("allowzero", 0):
        sizes = [x.shape[i] if n == 0 else n for i, n in enumerate(sizes)]
    return x.reshape(sizes)


def _flatten(node: Node, x: Tensor) -> Tensor:
    axis = node.attr("axis", 1)
    axis = axis + x.dim() if axis < 0 else axis
    return x.reshape(int(np.prod(x.shape[:axis])), -1)


def _squeeze(node: Node, x: Tensor, axes: Tensor | None = None) -> Tensor:
    over = node.axes()
    sizes = [i for i, n in enumerate(x.shape) if n == 1]
    over = sizes if over is None else [a % x.dim() for a in over]
    if any(a not in sizes for a in over):
        raise node.wrong(f"axes {over} of shape {list(x.shape)} are not all of size 1")
    return x.reshape([n for i, n in enumerate(x.shape) if i not in over])


def _unsqueeze(node: Node, x: Tensor, axes: Tensor | None = None) -> Tensor:
    over = node.axes() or []
    rank = x.dim() + len(over)
    places = {a % rank for a in over}
    sizes = iter(x.shape)
    return x.reshape([1 if i in places else next(sizes) for i in range(rank)])


def _transpose(node: Node, x: Tensor) -> Tensor:
    return x.permute(*(node.attr("perm") or range(x.dim() - 1, -1, -1)))


def _expand(node: Node, x: Tensor, shape: Tensor) -> Tensor:
    sizes = np.broadcast_shapes(tuple(x.shape), tuple(node.integers(1, "shape")))
    return x.expand(sizes)


def _tile(node: Node, x: Tensor, repeats: Tensor) -> Tensor:
    return x.repeat(*node.integers(1, "repeats"))


def _concat(node: Node, *tensors: Tensor) -> Tensor:
    return torch.cat(tensors, node.attr("axis", 0))


def _split(node: Node, x: Tensor, sizes: Tensor | None = None) -> tuple[Tensor, ...]:
    axis, count = node.attr("axis", 0), len(node.outputs)
    given = node.attr("split") or (node.integers(1, "split") if node.has(1) else None)
    if given is None:
        each = -(-x.shape[axis] // count)
        given = [each] * (count - 1) + [x.shape[axis] - each * (count - 1)]
    return tuple(torch.split(x, [int(n) for n in given], axis))


def _slice(
    node: Node,
    x: Tensor,
    starts: Tensor,
    ends: Tensor,
    axes: Tensor | None = None,
    steps: Tensor | None = None,
) -> Tensor:
    first, last = node.integers(1, "starts"), node.integers(2, "ends")
    over = node.integers(3, "axes") if node.has(3) else list(range(len(first)))
    by = node.integers(4, "steps") if node.has(4) else [1] * len(first)
    for axis, start, end, step in zip(over, first, last, by, strict=True):
        x = _cut(x, axis, range(*slice(*_ends(start, end, step)).indices(x.shape[axis])))
    return x


def _ends(start: int, end: int, step: int) -> tuple[int, int | None, int]:
    """Python has None where ONNX has a very small number for what is in front of everything."""
    return start, None if step < 0 and end < -(2**30) else end, step


def _cut(x: Tensor, axis: int, taken: range) -> Tensor:
    size = x.shape[axis]
    if taken == range(size):
        return x
    if taken.step > 0:
        index: list[Any] = [slice(None)] * x.dim()
        index[axis] = slice(taken.start, taken.stop, taken.step)
        return x[tuple(index)]
    if taken == range(size - 1, -1, -1):
        return x.flip(axis)
    return x.index_select(axis, torch.from_numpy(array(taken)))


_MODES = {"constant": "constant", "reflect": "reflect", "edge": "replicate", "wrap": "circular"}


def _pad(
    node: Node,
    x: Tensor,
    pads: Tensor,
    value: Tensor | None = None,
    axes: Tensor | None = None,
) -> Tensor:
    given = node.integers(1, "pads")
    over = node.integers(3, "axes") if node.has(3) else list(range(x.dim()))
    over = [a % x.dim() for a in over]
    sides = {a: (given[i], given[i + len(over)]) for i, a in enumerate(over)}
    mode = node.text("mode", "constant")
    if mode not in _MODES:
        raise node.wrong(f"mode {mode!r}; ONNX knows {', '.join(_MODES)}")
    axes_ = [a for a in range(x.dim()) if any(sides.get(a, (0, 0)))]
    if not axes_:
        return x
    flat = [n for a in range(x.dim() - 1, axes_[0] - 1, -1) for n in sides.get(a, (0, 0))]
    if mode == "constant":
        filled = 0 if value is None else float(node.constant(2, "value").reshape(-1)[0])
        return functional.pad(x, flat, value=filled)
    if x.dim() not in (3, 4, 5) or axes_[0] < 2:
        raise node.fail(f"mode {mode!r} of axes {axes_}; only of the dimensions of an image")
    flat += [0, 0] * ((2 * (x.dim() - 2) - len(flat)) // 2)
    return functional.pad(x, flat, mode=_MODES[mode])


def _depth_to_space(node: Node, x: Tensor) -> Tensor:
    size = int(node.attr("blocksize"))
    if node.text("mode", "DCR") == "CRD":
        return functional.pixel_shuffle(x, size)
    n, c, h, w = x.shape
    blocks = x.reshape(n, size, size, c // size**2, h, w).permute(0, 3, 4, 1, 5, 2)
    return blocks.reshape(n, c // size**2, h * size, w * size)


def _space_to_depth(node: Node, x: Tensor) -> Tensor:
    size = int(node.attr("blocksize"))
    if node.text("mode", "DCR") == "CRD":
        return functional.pixel_unshuffle(x, size)
    n, c, h, w = x.shape
    blocks = x.reshape(n, c, h // size, size, w // size, size).permute(0, 3, 5, 1, 2, 4)
    return blocks.reshape(n, c * size**2, h // size, w // size)


def _gather(node: Node, x: Tensor, index: Tensor) -> Tensor:
    axis = node.attr("axis", 0) % x.dim()
    known = node.constants[1]
    if known is None:
        wrapped = torch.where(index < 0, index + x.shape[axis], index)
        return _taken(x, axis, wrapped, index.shape)
    places = array(known) % x.shape[axis]
    if places.ndim == 0:
        return x.select(axis, int(places))
    return _taken(x, axis, torch.from_numpy(places), places.shape)


def _taken(x: Tensor, axis: int, index: Tensor, shape: Sequence[int]) -> Tensor:
    if axis == 0 and x.dim() == 2:
        return functional.embedding(index, x)
    flat = x.index_select(axis, index.reshape(-1))
    return flat.reshape(*x.shape[:axis], *shape, *x.shape[axis + 1 :])


def _gather_elements(node: Node, x: Tensor, index: Tensor) -> Tensor:
    axis = node.attr("axis", 0)
    return torch.gather(x, axis, torch.where(index < 0, index + x.shape[axis], index))


def _trilu(node: Node, x: Tensor, k: Tensor | None = None) -> Tensor:
    offset = node.integers(1, "diagonal")[0] if node.has(1) else 0
    return torch.triu(x, offset) if node.attr("upper", 1) else torch.tril(x, offset)


def _dropout(
    node: Node, x: Tensor, ratio: Tensor | None = None, training: Tensor | None = None
) -> tuple[Tensor, ...]:
    drops = node.has(2) and (node.known(2) is None or bool(node.known(2)))
    if drops and node.known(1) != 0:
        raise node.fail("it drops elements at random; export in inference mode")
    return x, torch.ones_like(x, dtype=torch.bool)


#: ONNX operator -> its translation.
OPERATORS: dict[str, Callable[..., Any]] = {
    "Reshape": _reshape,
    "Flatten": _flatten,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Transpose": _transpose,
    "Expand": _expand,
    "Tile": _tile,
    "Concat": _concat,
    "Split": _split,
    "Slice": _slice,
    "Pad": _pad,
    "DepthToSpace": _depth_to_space,
    "SpaceToDepth": _space_to_depth,
    "Gather": _gather,
    "GatherElements": _gather_elements,
    "Trilu": _trilu,
    "Identity": lambda node, x: x,
    "Dropout": _dropout,
}
