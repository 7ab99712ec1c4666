"""Sign with a gradient. sign(0) is +1 by default, so that every value has a bit."""

from typing import Any

import torch
from torch import Tensor, nn

from bnn_compiler.errors import ModelError

ZEROS = (-1, 0, 1)


def _forward(x: Tensor, zero: int) -> Tensor:
    if zero == 1:
        return torch.where(x >= 0, 1.0, -1.0)
    if zero == -1:
        return torch.where(x > 0, 1.0, -1.0)
    return torch.sign(x)


class ClippedSign(torch.autograd.Function):
    """Gradient 1 inside [-1, 1]: a clipped identity (Hubara et al., 2016)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, zero: int = 1) -> Tensor:
        """-1 or +1; ``zero`` is the sign of 0."""
        ctx.save_for_backward(x)
        return _forward(x, zero)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        """The clipped identity's derivative."""
        (x,) = ctx.saved_tensors
        return grads[0] * (x.abs() <= 1), None


class ApproxSign(torch.autograd.Function):
    """Gradient 2 - 2|x| inside [-1, 1]: a piecewise quadratic (Bi-Real Net, Liu et al., 2018)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, zero: int = 1) -> Tensor:
        """-1 or +1; ``zero`` is the sign of 0."""
        ctx.save_for_backward(x)
        return _forward(x, zero)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        """The polynomial's derivative."""
        (x,) = ctx.saved_tensors
        return grads[0] * (2 - 2 * x.abs()).clamp(min=0), None


def sign(x: Tensor, zero: int = 1) -> Tensor:
    """Sign whose gradient is that of a clipped identity; for weights."""
    result: Tensor = ClippedSign.apply(x, zero)  # type: ignore[no-untyped-call]
    return result


class Sign(nn.Module):
    """The activation's sign, with ApproxSign's gradient; ``zero`` is the sign of 0.

    The papers' PyTorch code has zero=0 (torch.sign), their text -1, Larq +1. Raises ModelError
    for any other value.
    """

    def __init__(self, *, zero: int = 1) -> None:
        super().__init__()
        if zero not in ZEROS:
            raise ModelError(f"sign(0) = {zero}; known: {', '.join(map(str, ZEROS))}")
        self.zero = zero

    def forward(self, x: Tensor) -> Tensor:
        """The signs of ``x``, of its shape."""
        result: Tensor = ApproxSign.apply(x, self.zero)  # type: ignore[no-untyped-call]
        return result
