"""The published settings, as functions that any training loop can call.

Each returns ``Optimizers``: the optimizers and schedulers of one model, which a plain loop steps
together, Accelerate prepares, and Lightning (manual optimization, because Bop's networks have two
optimizers) returns from ``configure_optimizers``. Schedulers are stepped once for every batch.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

from bnn_compiler.errors import TrainingError
from bnn_compiler.nn.bop import Bop, BopSchedule, linear, stepped
from bnn_compiler.nn.parameters import Parameters


@dataclass(frozen=True)
class Optimizers:
    """What steps a model, and what changes their settings."""

    optimizers: tuple[torch.optim.Optimizer, ...]
    schedulers: tuple[LambdaLR | BopSchedule, ...]

    def zero_grad(self) -> None:
        """Of every optimizer."""
        for optimizer in self.optimizers:
            optimizer.zero_grad()

    def step(self, scaler: "torch.amp.GradScaler | None" = None) -> None:
        """One step of every optimizer, through ``scaler`` if there is one, and every scheduler."""
        for optimizer in self.optimizers:
            if scaler is None:
                optimizer.step()
            else:
                scaler.step(optimizer)
        if scaler is not None:
            scaler.update()
        for scheduler in self.schedulers:
            scheduler.step()

    def state_dict(self) -> dict[str, Any]:
        """Of all of them."""
        return {
            "optimizers": [o.state_dict() for o in self.optimizers],
            "schedulers": [s.state_dict() for s in self.schedulers],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where ``state_dict`` was taken. Raises TrainingError for another recipe's state."""
        for mine, key in ((self.optimizers, "optimizers"), (self.schedulers, "schedulers")):
            if len(mine) != len(state[key]):
                raise TrainingError(f"a state of {len(state[key])} {key} for {len(mine)}")
            for each, its in zip(mine, state[key], strict=True):
                each.load_state_dict(its)


def adam(
    model: nn.Module, steps: int, *, lr: float = 1.25e-3, weight_decay: float = 0.0
) -> Optimizers:
    """Adam with latent weights, learning rate falling linearly to 0 over ``steps`` batches."""
    optimizer = torch.optim.Adam(Parameters.of(model).groups(weight_decay), lr=lr)
    return Optimizers((optimizer,), (LambdaLR(optimizer, _falling(steps)),))


def reactnet_step1(model: nn.Module, steps: int) -> Optimizers:
    """For ``convert.real_weights(model)``: Adam 1.25e-3, linear, weight decay 1e-5.

    Published for 128 epochs of ImageNet in batches of 256, with ``distribution_loss`` against a
    real-valued teacher (Liu et al., ECCV 2020, and its code).
    """
    return adam(model, steps, lr=1.25e-3, weight_decay=1e-5)


def reactnet_step2(model: nn.Module, steps: int) -> Optimizers:
    """For ``convert.binary_weights`` of step 1's result: the same without weight decay."""
    return adam(model, steps, lr=1.25e-3, weight_decay=0.0)


def bop_cifar10(model: nn.Module, *, steps_per_epoch: int = 1000) -> Optimizers:
    """BinaryNet on CIFAR-10 (Helwegen et al., NeurIPS 2019, section 5.2 and its code).

    500 epochs in batches of 50: threshold 1e-8, gamma 1e-4, a tenth every 100 epochs; what is not
    binary by Adam, 1e-2.
    """
    parameters = Parameters.of(model)
    bop = _bop(parameters)
    schedule = BopSchedule(bop, gamma=stepped(1e-4, 0.1, 100 * steps_per_epoch))
    return Optimizers((bop, torch.optim.Adam(parameters.real_groups(), lr=1e-2)), (schedule,))


def bop_imagenet(model: nn.Module, steps: int) -> Optimizers:
    """Binary AlexNet, XNOR-Net and Bi-Real Net on ImageNet (the same paper's code).

    150, 100 and 300 epochs in batches of 1024: threshold 1e-8, gamma linear from 1e-4 to 1e-6; what
    is not binary by Adam, linear from 2.5e-3 to 5e-6.
    """
    parameters = Parameters.of(model)
    bop, real = _bop(parameters), torch.optim.Adam(parameters.real_groups(), lr=2.5e-3)
    rate = linear(2.5e-3, 5e-6, steps)
    schedules = (
        BopSchedule(bop, gamma=linear(1e-4, 1e-6, steps)),
        LambdaLR(real, lambda step: rate(step) / 2.5e-3),
    )
    return Optimizers((bop, real), schedules)


def _bop(parameters: Parameters) -> Bop:
    if not parameters.binary:
        raise TrainingError("the model has no binary parameters for Bop; train it with Adam")
    return Bop(parameters.binary, threshold=1e-8, gamma=1e-4)


def _falling(steps: int) -> Any:
    return lambda step: max(0.0, 1 - step / steps)
