"""PruningNet (MetaPruning, Liu et al., ICCV 2019): weights generated from the plan.

Each convolution and linear layer has a hypernetwork of two fully connected layers with a ReLU
between, fed the ratios of channels that the plan keeps; the weights of the full layer that it
generates are cropped to the plan. Everything else (batch norms, shifts, slopes, biases) is shared
between the plans and cropped. Two departures from the published networks: batch norms are one per
layer, not one per width, because a plan may have any count; and a generator's last bias starts as
the full network's own weights, so that a trained network can be started from and the weights have
its layers' magnitudes.
"""

from typing import Literal

import torch
from torch import Tensor, nn

from bnn_compiler.errors import TrainingError
from bnn_compiler.search.crops import Crop, Plan, Space
from bnn_compiler.search.supernet import REMEMBER, Crops

#: Width of MetaPruning's hypernetworks for MobileNetV1 and ResNet.
HIDDEN = 32


class Generator(nn.Module):
    """ratios [n] -> weights of ``like``'s shape, by two fully connected layers."""

    def __init__(self, ratios: int, hidden: int, like: Tensor) -> None:
        super().__init__()
        self.shape = like.shape
        self.first = nn.Linear(ratios, hidden)
        self.second = nn.Linear(hidden, like.numel())
        with torch.no_grad():
            spread = like.std() if like.numel() > 1 else like.abs().mean()
            self.second.weight.mul_(spread)
            self.second.bias.copy_(like.reshape(-1))

    def forward(self, ratios: Tensor) -> Tensor:
        """The full layer's weights."""
        weights: Tensor = self.second(torch.relu(self.first(ratios)))
        return weights.view(self.shape)


class PruningNet(nn.Module):
    """Generates the weights of any plan's network.

    ``fed`` is what a hypernetwork sees: the ratios of its own layer's outputs and inputs ("layer",
    as MetaPruning's MobileNetV1) or those of every group ("plan"). A hypernetwork has ``hidden``
    times as many parameters as its layer. ``remember`` is as a Supernet's.
    """

    def __init__(
        self,
        space: Space,
        *,
        hidden: int = HIDDEN,
        fed: Literal["layer", "plan"] = "layer",
        remember: int = REMEMBER,
    ) -> None:
        super().__init__()
        self.shared = space.crop(space.full)
        self.fed = fed
        self._crops = Crops(space, remember)
        self._names = tuple(space.full)
        weights = _weights(self.shared)
        if not weights:
            raise TrainingError(f"{type(self.shared).__name__} has no layer to generate weights of")
        ratios = 2 if fed == "layer" else len(self._names)
        # A module's name may not hold a dot.
        self._keys = {name: name.replace(".", "/") for name in weights}
        self.generators = nn.ModuleDict(
            {self._keys[n]: Generator(ratios, hidden, w.detach()) for n, w in weights.items()}
        )
        for weight in weights.values():
            weight.requires_grad_(False)

    @property
    def full(self) -> Plan:
        """The plan of the full network."""
        return self._crops.space.full

    def forward(self, x: Tensor, plan: Plan | None = None) -> Tensor:
        """The plan's outputs, differentiable in the hypernetworks; None is the full network."""
        plan = self.full if plan is None else plan
        crop = self._crops.of(plan)
        return crop.run(self._parameters_of(plan, crop), x, self.training)

    def network(self, plan: Plan) -> nn.Module:
        """The plan's network with the generated weights, in eval mode.

        Its batch norms have the full network's statistics until they are recalibrated.
        """
        crop = self._crops.of(plan)
        with torch.no_grad():
            return crop.network(self._parameters_of(plan, crop))

    def _parameters_of(self, plan: Plan, crop: Crop) -> dict[str, Tensor]:
        parameters: dict[str, Tensor] = dict(self.shared.named_parameters())
        for name, key in self._keys.items():
            ratios = self._ratios(plan, crop, name).to(parameters[name].device)
            parameters[name] = self.generators[key](ratios)
        return parameters

    def _ratios(self, plan: Plan, crop: Crop, name: str) -> Tensor:
        if self.fed == "plan":
            kept = {**self.full, **plan}
            return torch.tensor([kept[n] / self.full[n] for n in self._names])
        full = self.shared.get_parameter(name).shape
        small = crop.picked[name].shape
        return torch.tensor([small[d] / full[d] for d in range(2)])


def _weights(model: nn.Module) -> dict[str, nn.Parameter]:
    """The weights of convolutions and linear layers, whatever their class, by name.

    They are the parameters that vary in two dimensions or more; shifts and slopes vary in one.
    """
    return {n: p for n, p in model.named_parameters() if sum(s > 1 for s in p.shape) > 1}
