"""The pruned module: leading channels of every tensor, attributes to match, run once to see."""

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx import Node
from torch.overrides import TorchFunctionMode

from bnn_compiler.errors import PlanError
from bnn_compiler.frontend.pytorch.trace import evaluating, op_name
from bnn_compiler.latency.dims import Kind, Layer, Point, find, groups, size
from bnn_compiler.latency.groups import Groups
from bnn_compiler.latency.take import take

_LAYERS = (F.conv2d, torch.conv2d, F.linear)
#: Attributes of torch.nn's layers, and of a user's that calls them so, for a layer's counts.
_COUNTS: dict[bool, dict[str, Callable[[Layer, Point], int]]] = {
    True: {
        "in_channels": lambda layer, p: size(layer.inputs, p),
        "out_channels": lambda layer, p: size(layer.outputs, p),
        "groups": groups,
    },
    False: {
        "in_features": lambda layer, p: size(layer.inputs, p),
        "out_features": lambda layer, p: size(layer.outputs, p),
    },
}
#: Attributes for the channels of a layer's tensors.
_CHANNELS = ("num_features", "num_parameters", "num_channels", "channels")
#: Attributes for how many channels a shortcut keeps.
_KEPT = ("channels", "num_channels", "out_channels", "outputs")


def crop(model: nn.Module, found: Groups, point: Point) -> nn.Module:
    """A copy of ``model``, whose groups are ``found``, with the counts of ``point``.

    Every parameter and buffer that ``forward`` reads keeps its leading channels; integers that
    torch.nn's layers keep (``out_channels``, ``num_features``, ``groups``, ...) and shapes of
    weights are corrected, on a user's modules too.
    """
    cropped = copy.deepcopy(model)
    _tensors(cropped, found, point)
    for path, name, old, new in _attributes(found, point):
        module = _module(cropped, path)
        if type(getattr(module, name, None)) is int and getattr(module, name) == old:
            setattr(module, name, new)
    _shapes(cropped, found, point)
    return cropped


def _tensors(cropped: nn.Module, found: Groups, point: Point) -> None:
    """Every parameter, buffer and plain tensor that the graph reads."""
    wanted: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
    for node, dims in found.values.items():
        if node.op != "get_attr" or not isinstance(dims, list):
            continue
        owner, _, name = str(node.meta["tensor"]).rpartition(".")
        old = _tensor(cropped, owner, name)
        if old is not None and any(find(d).kind is not Kind.FIXED for d in dims):
            wanted[id(old)] = (old, _like(old, take(old, dims, point)))
    for module in cropped.modules():
        kept: list[dict[str, Any]] = [module._parameters, module._buffers, vars(module)]
        for slots in kept:
            for name, value in list(slots.items()):
                if isinstance(value, torch.Tensor) and id(value) in wanted:
                    slots[name] = wanted[id(value)][1]


def _tensor(model: nn.Module, owner: str, name: str) -> torch.Tensor | None:
    """A tensor of the model; None for one that ``forward`` makes."""
    value = getattr(_module(model, owner), name, None)
    return value if isinstance(value, torch.Tensor) else None


def _module(model: nn.Module, path: str) -> nn.Module | None:
    """A module of the model; None for the path of a tensor that ``forward`` makes."""
    try:
        return model.get_submodule(path)
    except AttributeError:
        return None


def _like(old: torch.Tensor, new: torch.Tensor) -> torch.Tensor:
    if isinstance(old, nn.Parameter):
        return nn.Parameter(new, requires_grad=old.requires_grad)
    return new


def _attributes(found: Groups, point: Point) -> Iterator[tuple[str, str, int, int]]:
    """(module, attribute, its value in the full network, its value in the plan)."""
    full = found.full
    for layer in found.layers:
        for name, count in _COUNTS[layer.convolution].items():
            yield layer.path, name, count(layer, full), count(layer, point)
    for cut in found.cuts.values():
        for name in _KEPT:
            yield cut.path, name, size(cut.target, full), size(cut.target, point)
    for node, dims in found.values.items():
        if node.op == "get_attr" and isinstance(dims, list):
            path = str(node.meta["tensor"]).rpartition(".")[0]
            for d in dims:
                old, new = size(d, full), size(d, point)
                yield from ((path, name, old, new) for name in _CHANNELS if old != new)


def _shapes(cropped: nn.Module, found: Groups, point: Point) -> None:
    """Shapes of weights that modules keep as tuples, and their element counts."""
    for node in found.values:
        weight = node.args[1] if op_name(node) in ("conv2d", "linear") else None
        if not isinstance(weight, Node):
            continue
        module = cropped.get_submodule(str(node.meta.get("module_path", "")))
        old, new = found.shape(weight, found.full), found.shape(weight, point)
        for name, value in list(vars(module).items()):
            if isinstance(value, tuple) and tuple(value) == old:
                setattr(module, name, new)
            elif isinstance(value, list) and tuple(value) == old:
                setattr(module, name, list(new))


# ---- run without data


@dataclass
class Calls(TorchFunctionMode):
    """What ``forward`` calls, in order; ``shapes`` are the operands of convolutions and linears."""

    names: list[str] = field(default_factory=list)
    shapes: list[tuple[tuple[int, ...], tuple[int, ...]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.append(str(getattr(func, "__name__", func)))
        if func in _LAYERS:
            operands = [*args, *(kwargs or {}).values()]
            self.shapes.append((tuple(operands[0].shape), tuple(operands[1].shape)))
        return func(*args, **(kwargs or {}))


def run(model: nn.Module, shapes: Sequence[tuple[int, ...]]) -> Calls:
    """What ``forward`` calls on inputs of these shapes."""
    seen = Calls()
    _run(model, shapes, seen)
    return seen


def _run(model: nn.Module, shapes: Sequence[tuple[int, ...]], seen: Calls) -> None:
    with evaluating(model), torch.no_grad(), FakeTensorMode(allow_non_fake_inputs=True):
        inputs = [torch.zeros(shape) for shape in shapes]
        with seen:
            model(*inputs)


def check(cropped: nn.Module, found: Groups, point: Point, names: Sequence[str]) -> None:
    """Run a crop without data: its layers' shapes must be the plan's, its calls those of ``names``.

    Raises PlanError naming the first layer where they are not.
    """
    wanted, seen = list(_wanted(found, point)), Calls()
    try:
        _run(cropped, found.inputs(point), seen)
    # forward raises what it likes.
    except Exception as e:
        place = wanted[min(len(seen.shapes), len(wanted) - 1)][0] if wanted else "the network"
        reason = (str(e).strip().splitlines() or [type(e).__name__])[0]
        raise PlanError(f"{place}: the pruned network does not run: {reason}") from e
    for (place, *shapes), got in zip(wanted, seen.shapes, strict=False):
        if tuple(shapes) != got:
            raise PlanError(
                f"{place}: the pruned network's input and weight are {got[0]} and {got[1]}, the"
                f" plan's {shapes[0]} and {shapes[1]}; its forward counts channels by itself"
            )
    if list(names) != seen.names:
        raise PlanError("the pruned network's forward takes another way than the full network's")


def _wanted(found: Groups, point: Point) -> Iterator[tuple[str, tuple[int, ...], tuple[int, ...]]]:
    """Each layer's name, and the shapes of its input and weight."""
    for node in found.values:
        if op_name(node) in ("conv2d", "linear"):
            x, w = node.args[:2]
            if isinstance(x, Node) and isinstance(w, Node):
                name = str(node.meta.get("module_path", "")) or node.name
                yield name, found.shape(x, point), found.shape(w, point)
