"""Scans, and places among sorted numbers, in terms of comparisons and reductions.

A scan looks at every pair of elements along its axis, as the kernel of a cumulative sum does.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import _disable_current_modes


def _so_far(x: Any, dim: int) -> tuple[Tensor, Tensor]:
    """[..., i, j], each row with the whole axis, and whether j is at most i."""
    rows = x.movedim(dim, -1).unsqueeze(-2)
    with _disable_current_modes():
        mask = torch.ones(rows.shape[-1], rows.shape[-1], dtype=torch.bool).tril()
    return rows, mask


def _extreme(op: str) -> Callable[[Tensor, int], tuple[Tensor, Tensor]]:
    """cummax and cummin, with the last index where each extreme is."""
    worst = -math.inf if op == "amax" else math.inf

    def apply(x: Any, dim: int) -> tuple[Tensor, Tensor]:
        if x.dim() == 0:
            return x, torch.zeros((), dtype=torch.int64)
        rows, mask = _so_far(x, dim)
        found = getattr(torch.where(mask, rows, worst), op)(-1)
        with _disable_current_modes():
            positions = torch.arange(rows.shape[-1], dtype=torch.float32)
        here = (rows == found.unsqueeze(-1)) & mask
        last = torch.where(here, positions, 0.0).amax(-1)
        return found.movedim(-1, dim), last.movedim(-1, dim).to(torch.int64)

    return apply


def _logcumsumexp(x: Any, dim: int) -> Any:
    rows, mask = _so_far(x, dim)
    rows = torch.where(mask, rows, -math.inf)
    most = rows.amax(-1, keepdim=True)
    most = torch.where(most == -math.inf, 0.0, most)
    total = torch.exp(rows - most).sum(-1)
    return (torch.log(total) + most.squeeze(-1)).movedim(-1, dim)


def _searchsorted(
    boundaries: Any,
    x: Any,
    out_int32: bool = False,
    right: bool = False,
    side: str | None = None,
    sorter: Tensor | None = None,
) -> Any:
    """How many boundaries are below x, or not above it; NaN is above all."""
    if sorter is not None:
        raise TypeError("boundaries in another order")
    x = torch.as_tensor(x, dtype=boundaries.dtype).unsqueeze(-1)
    rows = boundaries.unsqueeze(-2)
    behind = rows <= x if right or side == "right" else rows < x
    count = (behind | (x != x)).float().sum(-1)
    return count.to(torch.int32 if out_int32 else torch.int64)


def _bucketize(x: Any, boundaries: Any, out_int32: bool = False, right: bool = False) -> Any:
    return _searchsorted(boundaries, x, out_int32, right)


#: Operator -> what it is of others.
DECOMPOSITIONS: dict[str, Callable[..., Any]] = {
    "cummax": _extreme("amax"),
    "cummin": _extreme("amin"),
    "logcumsumexp": _logcumsumexp,
    "_logcumsumexp": _logcumsumexp,
    "searchsorted": _searchsorted,
    "bucketize": _bucketize,
}
