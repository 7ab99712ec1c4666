"""What a plan is worth when its network is trained from nothing."""

from dataclasses import dataclass

import torch
from torch import nn

from bnn_compiler.errors import TrainingError
from bnn_compiler.search.crops import Plan, Space
from bnn_compiler.search.data import Labelled
from bnn_compiler.search.deterministic import deterministic
from bnn_compiler.search.recalibrate import accuracy, recalibrate_on
from bnn_compiler.search.train import Settings, fastest, fit


def reinitialize(network: nn.Module, seed: int) -> None:
    """Draw every parameter anew, as its layer does when it is made, and reset every statistic.

    Raises TrainingError naming a module with parameters that has no ``reset_parameters``.
    """
    with deterministic(seed):
        for name, module in network.named_modules():
            reset = getattr(module, "reset_parameters", None)
            if reset is not None:
                reset()
            elif next(module.parameters(recurse=False), None) is not None:
                raise TrainingError(
                    f"{name or 'the network'} ({type(module).__name__}) cannot be drawn anew:"
                    " give it a method reset_parameters"
                )


def trained(space: Space, plan: Plan, data: Labelled, settings: Settings, seed: int) -> nn.Module:
    """The plan's network, drawn by ``seed`` and trained; ``seed`` replaces that of the settings.

    Batch norms are recalibrated afterwards: their running averages follow moved images and weights
    that still changed, and after a short training cost a binary network 10 to 30 points.
    Raises what ``reinitialize``, ``fit`` and the space's ``crop`` raise.
    """
    network = space.crop(plan)
    for parameter in network.parameters():
        parameter.requires_grad_(True)
    reinitialize(network, seed)
    fit(network, data, Settings(**{**vars(settings), "seed": seed}))
    home = next((p.device for p in network.parameters()), torch.device("cpu"))
    with deterministic(seed):
        recalibrate_on(network.to(fastest(home)), data)
    return network.to(home)


@dataclass(frozen=True)
class FromScratch:
    """(plan, seed) -> accuracy on ``choose`` after training on ``train`` by ``settings``."""

    space: Space
    train: Labelled
    choose: Labelled
    settings: Settings

    def __call__(self, plan: Plan, seed: int = 0) -> float:
        """0..1. Errors are those of ``trained``."""
        network = trained(self.space, plan, self.train, self.settings, seed)
        with deterministic(seed):
            return accuracy(network.to(fastest(torch.device("cpu"))), self.choose)
