"""A user's function plan -> module as a space."""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from bnn_compiler.errors import TrainingError
from bnn_compiler.search.crops import Plan


@dataclass(frozen=True)
class Factory:
    """Networks that ``build`` makes for plans; ``full`` is the largest.

    A plan's parameters are the leading elements, in every dimension, of the full network's of the
    same name. Where a convolution has more groups than the full network's, each weight is that of
    the full network between the same two channels, so that the groups of a plan share weights with
    every other plan whose groups join the same channels.
    """

    build: Callable[[Plan], nn.Module]
    full: Plan
    model: nn.Module = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "model", self.build(self.full))

    def check(self, plan: Plan) -> None:
        """Raises TrainingError for an unknown key, or a count that is below 1 or above the full."""
        for name, count in plan.items():
            if name not in self.full:
                known = ", ".join(sorted(self.full))
                raise TrainingError(f"the plan's {name!r} is unknown; known: {known}")
            # More groups are a smaller network; a convolution refuses what does not divide.
            if count < 1 or (count > self.full[name] and not name.endswith(".groups")):
                raise TrainingError(f"the plan's {name} is {count}; it is 1 to {self.full[name]}")

    def crop(self, plan: Plan) -> nn.Module:
        """The plan's network with the full network's values.

        Raises TrainingError for a plan that ``check`` refuses, and for a network that is not a part
        of the full one.
        """
        self.check(plan)
        plan = {**self.full, **plan}
        network = self.build(plan)
        full = dict(self.model.named_modules())
        for name, module in network.named_modules():
            kept = full.get(name)
            if kept is None or type(kept) is not type(module):
                raise TrainingError(f"{name or 'the network'} is not what the full network has")
            for key, parameter in module.named_parameters(recurse=False):
                source = kept.get_parameter(key).data
                parameter.data = _part(f"{name}.{key}", parameter.data, source, module, kept)
            for key, buffer in module.named_buffers(recurse=False):
                buffer.copy_(_leading(f"{name}.{key}", buffer, kept.get_buffer(key)))
        return network


def _part(name: str, small: Tensor, full: Tensor, module: nn.Module, kept: nn.Module) -> Tensor:
    groups, whole = getattr(module, "groups", 1), getattr(kept, "groups", 1)
    if groups == whole or small.dim() < 3:
        return _leading(name, small, full)
    outputs, inputs = small.shape[:2]
    out = torch.arange(outputs)[:, None]
    channel = out // (outputs // groups) * inputs + torch.arange(inputs)[None]
    position = channel - out // (full.shape[0] // whole) * full.shape[1]
    if position.min() < 0 or position.max() >= full.shape[1] or outputs > full.shape[0]:
        raise TrainingError(
            f"{name}: {groups} groups join channels that the full network's {whole} do not;"
            " build the full network with 1 group, or keep each group's channels"
        )
    return full[out, position].clone()


def _leading(name: str, small: Tensor, full: Tensor) -> Tensor:
    fits = small.dim() == full.dim() and all(
        s <= f for s, f in zip(small.shape, full.shape, strict=True)
    )
    if not fits:
        raise TrainingError(
            f"{name} is {list(small.shape)}, which is no part of the full {list(full.shape)}"
        )
    return full[tuple(slice(s) for s in small.shape)].clone()
