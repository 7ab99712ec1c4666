"""Interpolation, one axis after the other, as sums of a few elements with constant weights."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import _disable_current_modes

#: (a column [1, n, n, 1], size, factor) -> [1, n, size, 1].
Along = Callable[[Tensor, int, float | None], Tensor]


def _resampled(x: Any, axis: int, size: int, factor: float | None, along: Along) -> Any:
    """``x`` with one axis resampled as ``along`` does."""
    n = x.shape[axis]
    with _disable_current_modes():
        # Each column is what one element adds to all.
        found = along(torch.eye(n).reshape(1, n, n, 1), size, factor)[0, :, :, 0].T.numpy()
        most = int((found != 0).sum(1).max())
        at = np.sort(np.argsort(found == 0, 1, kind="stable")[:, :most], 1)
        weights = np.take_along_axis(found, at, 1)
        behind = [1] * (x.dim() - axis - 1)
        factors = torch.from_numpy(weights.reshape(size, most, *behind))
        places = torch.from_numpy(at.reshape(-1))
    x = x.index_select(axis, places)
    if most == 1 and (weights == 1).all():
        return x
    return (x.unflatten(axis, (size, most)) * factors).sum(axis + 1)


def _interpolation(rank: int, along: Callable[..., Tensor], *, aligned: bool) -> Callable[..., Any]:
    """Of the last ``rank`` axes; ``aligned`` if the operator has an argument align_corners."""

    def apply(x: Tensor, size: Any, *rest: Any) -> Any:
        corners, scales = (rest[:1], rest[1:]) if aligned else ((), rest)
        factors = scales[0] if scales and isinstance(scales[0], list | tuple) else scales
        factors = [*(factors or ()), *[None] * rank][:rank]
        first = x.dim() - rank
        for axis, factor in enumerate(factors, first):
            count = size[axis - first] if size else int(x.shape[axis] * factor)
            x = _resampled(
                x, axis, count, factor, lambda c, n, f: along(c, [n, 1], *corners, f, None)
            )
        return x

    return apply


_aten = torch.ops.aten
_NEAREST, _EXACT = _aten.upsample_nearest2d.default, _aten._upsample_nearest_exact2d.default
_LINEAR, _CUBIC = _aten.upsample_bilinear2d.default, _aten.upsample_bicubic2d.default
#: Operator -> what it is of others.
DECOMPOSITIONS: dict[str, Callable[..., Any]] = {
    **{f"upsample_nearest{n}d": _interpolation(n, _NEAREST, aligned=False) for n in (1, 3)},
    **{f"_upsample_nearest_exact{n}d": _interpolation(n, _EXACT, aligned=False) for n in (1, 3)},
    "upsample_linear1d": _interpolation(1, _LINEAR, aligned=True),
    "upsample_trilinear3d": _interpolation(3, _LINEAR, aligned=True),
    "upsample_bicubic2d": _interpolation(2, _CUBIC, aligned=True),
}
