"""Which elements of a full network's parameters a plan's network has.

A *space* has a full network and crops it (``latency.PlanSpace``, or ``Factory``). A crop copies
elements and computes none, so cropping a network whose every parameter holds the positions of its
own elements tells where each element of a plan's network comes from. What shares the full network's
weights (``supernet``) or generates them (``hypernet``) takes them from there, with their gradients.
"""

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.func import functional_call

from bnn_compiler.errors import TrainingError

#: {group: channels}, and "NAME.groups" for the group count of the convolution NAME.
Plan = Mapping[str, int]


class Space(Protocol):
    """Plans, and the network of each."""

    @property
    def model(self) -> nn.Module:
        """The full network, which ``crop`` reads."""

    @property
    def full(self) -> Plan:
        """The plan of the full network."""

    def crop(self, plan: Plan) -> nn.Module:
        """A network of its own with copies of the full network's elements.

        Raises an error that names what is wrong with the plan.
        """


@dataclass(frozen=True)
class Picked:
    """Elements of a full parameter: a leading block, or positions in its flattened elements."""

    shape: torch.Size
    positions: Tensor | None

    @staticmethod
    def of(positions: Tensor, full: torch.Size) -> "Picked":
        """From int64 ``positions`` of the result's shape."""
        leading = torch.arange(full.numel()).view(full)
        if positions.dim() == len(full) and torch.equal(
            positions, _block(leading, positions.shape)
        ):
            return Picked(positions.shape, None)
        return Picked(positions.shape, positions)

    def __call__(self, parameter: Tensor) -> Tensor:
        """The elements, differentiable; every call takes them from what the parameter now holds."""
        if self.positions is None:
            return _block(parameter, self.shape)
        return parameter.reshape(-1)[self.positions.to(parameter.device)]


@dataclass(frozen=True)
class Crop:
    """A plan's network without parameters, and where their values come from.

    ``frame`` is the cropped module, its parameters empty. ``buffers`` are as they were cropped.
    """

    frame: nn.Module
    picked: Mapping[str, Picked]
    buffers: Mapping[str, Tensor]

    @staticmethod
    def of(space: Space, plan: Plan) -> "Crop":
        """Raises TrainingError if the space's crop computes values or renames parameters."""
        shapes = {n: p.shape for n, p in space.model.named_parameters()}
        with _positions(space.model):
            frame = space.crop(plan)
        picked = {}
        for name, parameter in frame.named_parameters():
            values = parameter.detach()
            if name not in shapes:
                raise TrainingError(f"the cropped network's {name} is no parameter of the full one")
            whole = values.to(torch.int64)
            inside = (whole >= 0) & (whole < shapes[name].numel())
            if not torch.equal(whole.to(values.dtype), values) or not bool(inside.all()):
                raise TrainingError(f"cropping {name} computes new values; a crop copies elements")
            picked[name] = Picked.of(whole, shapes[name])
            parameter.data = torch.empty(0)
        buffers = {name: buffer.clone() for name, buffer in frame.named_buffers()}
        return Crop(frame, picked, buffers)

    def values(self, parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Each parameter of the frame, taken from the full ones by name, differentiable."""
        return {name: pick(parameters[name]) for name, pick in self.picked.items()}

    def run(self, parameters: Mapping[str, Tensor], x: Tensor, training: bool) -> Tensor:
        """The plan's outputs, differentiable in the full parameters."""
        self.frame.train(training)
        for buffer in self.frame.buffers():
            buffer.data = buffer.data.to(x.device)
        return functional_call(self.frame, self.values(parameters), (x,))  # type: ignore[no-any-return]

    def network(self, parameters: Mapping[str, Tensor]) -> nn.Module:
        """A network of its own, in eval mode, that holds copies of the values."""
        network = copy.deepcopy(self.frame)
        values = self.values(parameters)
        for name, parameter in network.named_parameters():
            parameter.data = values[name].detach().clone()
            parameter.requires_grad_(True)
        for name, buffer in network.named_buffers():
            buffer.data = self.buffers[name].clone()
        return network.eval()


def _block(tensor: Tensor, shape: torch.Size) -> Tensor:
    for dim, size in enumerate(shape):
        tensor = tensor.narrow(dim, 0, min(size, tensor.shape[dim]))
    return tensor


@contextmanager
def _positions(model: nn.Module) -> Iterator[None]:
    """Every parameter holds the positions of its own elements (float64: exact below 2^53)."""
    kept = {p: p.data for p in model.parameters()}
    try:
        for parameter, data in kept.items():
            positions = torch.arange(data.numel(), dtype=torch.float64)
            parameter.data = positions.view(data.shape)
        yield
    finally:
        for parameter, data in kept.items():
            parameter.data = data
