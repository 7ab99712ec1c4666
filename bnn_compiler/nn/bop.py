"""Bop: training binary weights without latent ones (Helwegen et al., NeurIPS 2019)."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from bnn_compiler.errors import TrainingError

#: A value for every step, counted from 0.
Schedule = Callable[[int], float]


class Bop(torch.optim.Optimizer):
    """Flips a weight when the moving average of its gradient is consistently against it.

    m <- (1 - gamma) m + gamma g;  w <- -w where w * m > threshold. Parameters hold -1 / +1: what
    they held before is replaced by its sign. Raises TrainingError for a gamma outside [0, 1] and a
    threshold below 0.
    """

    def __init__(
        self, params: Iterable[Any], *, threshold: float = 1e-8, gamma: float = 1e-4
    ) -> None:
        super().__init__(params, {"threshold": threshold, "gamma": gamma})
        for group in self.param_groups:
            if not 0 <= group["gamma"] <= 1 or group["threshold"] < 0:
                raise TrainingError(
                    f"gamma {group['gamma']} and threshold {group['threshold']};"
                    " gamma is in [0, 1] and the threshold not below 0"
                )
        with torch.no_grad():
            for group in self.param_groups:
                for p in group["params"]:
                    p.copy_(torch.where(p >= 0, 1.0, -1.0))

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One update of every parameter that has a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    self._flip(p, group)
        return loss

    def _flip(self, p: Tensor, group: dict[str, Any]) -> None:
        m = self.state[p].setdefault("m", torch.zeros_like(p))
        m.mul_(1 - group["gamma"]).add_(p.grad, alpha=group["gamma"])
        p.copy_(torch.where(p * m > group["threshold"], -p, p))


def stepped(initial: float, factor: float, every: int) -> Schedule:
    """initial * factor^(step // every): a decay in steps."""
    return lambda step: initial * factor ** (step // every)


def linear(initial: float, final: float, steps: int) -> Schedule:
    """From ``initial`` to ``final`` over ``steps`` steps, then ``final``."""
    return lambda step: initial + (final - initial) * min(step / steps, 1.0)


class BopSchedule:
    """Sets gamma and the threshold of every group of a Bop; used like torch's schedulers.

    ``step()`` is called after the optimizer's, once for every batch; None keeps what the groups
    have. As published, the threshold stays and gamma decays: ``recipes`` has the values.
    """

    def __init__(
        self, optimizer: Bop, *, gamma: Schedule | None = None, threshold: Schedule | None = None
    ) -> None:
        self.optimizer, self.gamma, self.threshold = optimizer, gamma, threshold
        self.steps = 0
        self._apply()

    def step(self) -> None:
        """On to the next step's values."""
        self.steps += 1
        self._apply()

    def state_dict(self) -> dict[str, int]:
        """The count of steps; the functions are the caller's."""
        return {"steps": self.steps}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on where ``state_dict`` was taken."""
        self.steps = state["steps"]
        self._apply()

    def _apply(self) -> None:
        for group in self.optimizer.param_groups:
            if self.gamma is not None:
                group["gamma"] = self.gamma(self.steps)
            if self.threshold is not None:
                group["threshold"] = self.threshold(self.steps)
