"""Sign with a gradient. sign(0) is +1, so that every value has a bit."""

from typing import Any

import torch
from torch import Tensor, nn


class _ClippedSign(torch.autograd.Function):
    """Gradient 1 inside [-1, 1] (Hubara et al., 2016)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return torch.where(x >= 0, 1.0, -1.0)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        gradient: Tensor = grads[0] * (x.abs() <= 1)
        return gradient


class ApproxSign(torch.autograd.Function):
    """Gradient 2 - 2|x| inside [-1, 1]: a piecewise quadratic (Bi-Real Net, Liu et al., 2018)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        """+1 where x >= 0, else -1."""
        ctx.save_for_backward(x)
        return torch.where(x >= 0, 1.0, -1.0)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        """The polynomial's derivative."""
        (x,) = ctx.saved_tensors
        gradient: Tensor = grads[0] * (2 - 2 * x.abs()).clamp(min=0)
        return gradient


def sign(x: Tensor) -> Tensor:
    """Sign whose gradient is that of a clipped identity; for weights."""
    result: Tensor = _ClippedSign.apply(x)  # type: ignore[no-untyped-call]
    return result


class Sign(nn.Module):
    """The activation's sign, with ApproxSign's gradient."""

    def forward(self, x: Tensor) -> Tensor:
        """-1 or +1 of the shape of ``x``."""
        result: Tensor = ApproxSign.apply(x)  # type: ignore[no-untyped-call]
        return result
