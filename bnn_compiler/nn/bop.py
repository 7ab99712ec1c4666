"""Bop: training binary weights without latent ones (Helwegen et al., NeurIPS 2019)."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor


class Bop(torch.optim.Optimizer):
    """Flips a weight when the moving average of its gradient is consistently against it.

    m <- (1 - gamma) m + gamma g;  w <- -w where w * m > threshold. Parameters hold -1 / +1.
    """

    def __init__(
        self, params: Iterable[Tensor], *, threshold: float = 1e-8, gamma: float = 1e-4
    ) -> None:
        super().__init__(params, {"threshold": threshold, "gamma": gamma})
        with torch.no_grad():
            for group in self.param_groups:
                for p in group["params"]:
                    p.copy_(torch.where(p >= 0, 1.0, -1.0))

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One update of every parameter that has a gradient."""
        loss = closure() if closure is not None else None
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    self._flip(p, group)
        return loss

    def _flip(self, p: Tensor, group: dict[str, Any]) -> None:
        m = self.state[p].setdefault("m", torch.zeros_like(p))
        m.mul_(1 - group["gamma"]).add_(p.grad, alpha=group["gamma"])
        p.copy_(torch.where(p * m > group["threshold"], -p, p))
