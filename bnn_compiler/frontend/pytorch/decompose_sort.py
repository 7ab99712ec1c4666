"""Sorted axes, and elements at places of them, in terms of comparisons and reductions.

An element's place is how many come before it. Every pair along the axis is compared, which is the
same on every target and any number of threads; n elements take n * n steps, so that there is a
limit. Equal elements stay in their order. NaN has no place.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import _disable_current_modes

#: Elements that are put in order at most: their pairs are compared, and listed when compiling.
_MOST = 4096


def _places(rows: Tensor, descending: bool = False) -> Tensor:
    """[..., n]: how many elements of a row come before each."""
    here, other = rows.unsqueeze(-1), rows.unsqueeze(-2)
    count = rows.shape[-1]
    with _disable_current_modes():
        earlier = torch.ones(count, count, dtype=torch.bool).tril(-1)
    before = other > here if descending else other < here
    return (before | (earlier & (other == here))).float().sum(-1)


def _numbers(numbers: Sequence[float]) -> Tensor:
    with _disable_current_modes():
        return torch.tensor(numbers, dtype=torch.float32)


def _at(
    x: Any, dim: int, wanted: Sequence[float], descending: bool = False
) -> tuple[Tensor, Tensor]:
    """The elements at the ``wanted`` places [k] of an axis, which is k long now, and their indices.

    Raises TypeError for integers, as what is left out is -inf, and for too many elements.
    """
    if not x.dtype.is_floating_point:
        raise TypeError("integers in order")
    if x.shape[dim] > _MOST:
        raise TypeError(f"more than {_MOST} elements in order")
    rows = x.movedim(dim, -1)
    found = _places(rows, descending).unsqueeze(-2) == _numbers(wanted).unsqueeze(-1)
    values = torch.where(found, rows.unsqueeze(-2), -math.inf).amax(-1)
    positions = _numbers(range(rows.shape[-1]))
    indices = torch.where(found, positions, 0.0).amax(-1)
    return values.movedim(-1, dim), indices.movedim(-1, dim).to(torch.int64)


def _sort(
    x: Any, dim: int = -1, descending: bool = False, *, stable: bool | None = None
) -> tuple[Tensor, ...]:
    if x.dim() == 0:
        return tuple(v.reshape(()) for v in _sort(x.reshape(1), 0))
    return _at(x, dim, range(x.shape[dim]), descending)


def _argsort(
    x: Any, dim: int = -1, descending: bool = False, *, stable: bool | None = None
) -> Tensor:
    return _sort(x, dim, descending)[1]


def _topk(
    x: Any, k: int, dim: int = -1, largest: bool = True, sorted: bool = True
) -> tuple[Tensor, ...]:
    return _at(x, dim, range(k), largest)


def _kth(x: Any, k: int, dim: int = -1, keepdim: bool = False) -> tuple[Tensor, ...]:
    found = _at(x, dim, [k - 1])
    return found if keepdim else tuple(v.squeeze(dim) for v in found)


def _median(x: Any, dim: int | None = None, keepdim: bool = False) -> Any:
    """The lower one of two in the middle, as PyTorch's."""
    if dim is None:
        return _median(x.reshape(-1), 0)[0]
    return _kth(x, (x.shape[dim] + 1) // 2, dim, keepdim)


def _quantile(
    x: Any,
    q: Any,
    dim: int | None = None,
    keepdim: bool = False,
    *,
    interpolation: str = "linear",
) -> Tensor:
    """Of one constant share, between the elements nearest to it. Raises TypeError for others."""
    if not isinstance(q, float) or (dim is None and keepdim):
        raise TypeError("several shares")
    rows, axis = (x.reshape(-1), 0) if dim is None else (x, dim)
    # PyTorch's, in float32.
    place = float(np.float32(q) * np.float32(rows.shape[axis] - 1))
    places = {
        "linear": (math.floor(place), math.ceil(place)),
        "midpoint": (math.floor(place), math.ceil(place)),
        "lower": (math.floor(place),) * 2,
        "higher": (math.ceil(place),) * 2,
        "nearest": (round(place),) * 2,
    }[interpolation]
    found = _at(rows, axis, places)[0]
    share = {"linear": place - places[0], "midpoint": 0.5}.get(interpolation, 0.0)
    low, high = found.select(axis, 0), found.select(axis, 1)
    between = low if places[0] == places[1] else low + (high - low) * share
    return between.unsqueeze(axis) if keepdim else between


#: Operator -> what it is of others.
DECOMPOSITIONS: dict[str, Callable[..., Any]] = {
    "sort": _sort,
    "argsort": _argsort,
    "msort": lambda x: _sort(x, 0)[0],
    "kthvalue": _kth,
    "median": _median,
    "quantile": _quantile,
    "topk": _topk,
}
