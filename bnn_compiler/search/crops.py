"""Which elements of a full network's parameters a plan's network has.

A *space* has a full network and crops it (``latency.PlanSpace``, or ``Factory``). A crop copies
elements and computes none, so cropping a network whose every parameter holds the positions of its
own elements tells where each element of a plan's network comes from. What shares the full network's
weights (``supernet``) or generates them (``hypernet``) takes them from there, with their gradients.
"""

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.func import functional_call

from bnn_compiler.errors import TrainingError

#: Positions below it are exact in float32.
_BASE = 1 << 24

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
    """Elements of a full parameter.

    ``rows`` are the coordinates kept in each dimension (None: the leading ones), or else
    ``positions`` are those in the flattened parameter.
    """

    shape: torch.Size
    rows: tuple[Tensor | None, ...] = ()
    positions: Tensor | None = None

    @staticmethod
    def of(positions: Tensor, full: torch.Size) -> "Picked":
        """From int64 ``positions`` of the result's shape."""
        shape = positions.shape
        if len(shape) != len(full) or not positions.numel():
            return Picked(shape, positions=positions)
        strides = torch.empty(full, device="meta").stride()
        rows, again = list[Tensor | None](), torch.zeros((), dtype=torch.int64)
        for dim, (size, stride) in enumerate(zip(full, strides, strict=True)):
            line = positions[tuple(slice(None) if d == dim else 0 for d in range(len(full)))]
            found = line // stride % size
            again = again + (found * stride).view([-1 if d == dim else 1 for d in range(len(full))])
            rows.append(None if torch.equal(found, torch.arange(len(found))) else found)
        if torch.equal(again, positions):
            return Picked(shape, tuple(rows))
        return Picked(shape, positions=positions)

    def __call__(self, parameter: Tensor) -> Tensor:
        """The elements, differentiable, of what the parameter now holds."""
        if self.positions is not None:
            return parameter.reshape(-1)[self.positions.to(parameter.device)]
        for dim, rows in enumerate(self.rows):
            if rows is None:
                parameter = parameter.narrow(dim, 0, self.shape[dim])
            else:
                parameter = parameter.index_select(dim, rows.to(parameter.device))
        return parameter


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
        frame, low = _cropped(space, plan, lambda position: position % _BASE)
        high = low
        if any(shape.numel() > _BASE for shape in shapes.values()):
            _, high = _cropped(space, plan, lambda position: position // _BASE)
        picked = {}
        for name, parameter in frame.named_parameters():
            if name not in shapes:
                raise TrainingError(f"the cropped network's {name} is no parameter of the full one")
            position = _whole(name, low[name])
            if high is not low:
                position = position + _BASE * _whole(name, high[name])
            if bool((position < 0).any()) or bool((position >= shapes[name].numel()).any()):
                raise TrainingError(f"cropping {name} computes new values; a crop copies elements")
            picked[name] = Picked.of(position, shapes[name])
            parameter.data = torch.empty(0)
        buffers = {name: buffer.clone() for name, buffer in frame.named_buffers()}
        return Crop(frame, picked, buffers)

    def values(self, parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Each parameter of the frame, taken from the full ones by name, differentiable."""
        return {name: pick(parameters[name]) for name, pick in self.picked.items()}

    def run(self, parameters: Mapping[str, Tensor], x: Tensor, training: bool) -> Tensor:
        """The plan's outputs, differentiable in the full parameters."""
        self.frame.to(x.device).train(training)
        return functional_call(self.frame, self.values(parameters), (x,))  # type: ignore[no-any-return]

    def network(self, parameters: Mapping[str, Tensor]) -> nn.Module:
        """A network of its own, in eval mode, that holds copies of the values."""
        values = self.values(parameters)
        device = next((v.device for v in values.values()), torch.device("cpu"))
        network = copy.deepcopy(self.frame).to(device)
        for name, parameter in network.named_parameters():
            parameter.data = values[name].detach().clone()
            parameter.requires_grad_(True)
        for name, buffer in network.named_buffers():
            buffer.data = self.buffers[name].to(device, copy=True)
        return network.eval()


def _cropped(
    space: Space, plan: Plan, digit: Callable[[Tensor], Tensor]
) -> tuple[nn.Module, dict[str, Tensor]]:
    """The crop of a network that holds digits of its positions, and what its parameters hold."""
    with _holding(space.model, digit):
        frame = space.crop(plan)
    return frame, {name: p.detach() for name, p in frame.named_parameters()}


def _whole(name: str, values: Tensor) -> Tensor:
    whole = values.to(torch.int64)
    if not torch.equal(whole.to(values.dtype), values):
        raise TrainingError(f"cropping {name} computes new values; a crop copies elements")
    return whole.cpu()


@contextmanager
def _holding(model: nn.Module, digit: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Every parameter holds a digit of the positions of its own elements, in its own type."""
    kept = {p: p.data for p in model.parameters()}
    try:
        for parameter, data in kept.items():
            if data.dtype not in (torch.float32, torch.float64):
                raise TrainingError(f"a parameter is {data.dtype}; train in float32")
            digits = digit(torch.arange(data.numel(), device=data.device))
            parameter.data = digits.view(data.shape).to(data.dtype)
        yield
    finally:
        for parameter, data in kept.items():
            parameter.data = data
