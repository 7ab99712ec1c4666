"""Functions that stand in an FX graph for a recognised pattern."""

import torch


def sign(x: torch.Tensor, zero: int) -> torch.Tensor:
    """-1 or +1 by the sign of ``x``; ``zero`` (-1, 0 or +1) where it is 0."""
    return torch.where(x > 0, 1.0, torch.where(x < 0, -1.0, float(zero))).to(x.dtype)
