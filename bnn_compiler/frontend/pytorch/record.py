"""What torch.export refuses is recorded: the operators of one real run, on the example inputs.

Parameters and buffers are constants. What forward asks of a value, a branch or a number, is
answered as in that run, and frozen. The operators are then exported like any module's.
"""

import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch.export import ExportedProgram
from torch.fx import Graph, Interpreter, Node
from torch.fx import traceback as meta
from torch.fx.experimental.proxy_tensor import disable_proxy_modes_tracing, make_fx
from torch.nn.modules import module as hooks
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map_only

from bnn_compiler.frontend.pytorch import lines
from bnn_compiler.frontend.pytorch.state import unchanged

#: meta["custom"] of a recorded node has its module's path, its line, and what asked for its value.
PATH, LINE, _ASKED = "bnn_path", "bnn_line", "bnn_asked"
_DATA = torch.Tensor.data
#: On how much noise a recorded program is compared with its model.
_FRESH = 2
#: Functions by which a value leaves torch for Python.
_ASK = {
    "__bool__",
    "__int__",
    "__float__",
    "__index__",
    "__contains__",
    "item",
    "tolist",
    "numpy",
    "__array__",
    "is_nonzero",
    "equal",
    "allclose",
}


@dataclass(frozen=True)
class Frozen:
    """A value that Python was given: at which ``line``, and whether it depends on the inputs."""

    line: str
    of_inputs: bool


@dataclass(frozen=True)
class Recording:
    """One run of a model as a program, and what it froze, in order."""

    program: ExportedProgram
    frozen: tuple[Frozen, ...]


def record(model: torch.nn.Module, inputs: Sequence[torch.Tensor]) -> Recording:
    """Run ``model``, which must be in eval mode, once; it is left as it was.

    Raises what the model raises, and what torch does if the recorded operators cannot be exported.
    """
    copies = [x.detach().clone() for x in inputs]
    with unchanged(model) as before, torch.no_grad(), meta.preserve_node_meta():
        names = {id(t): n for n, t in [*model.named_buffers(), *model.named_parameters()]}
        watch = _Watch()

        def run(*args: torch.Tensor) -> Any:
            with _paths(model, watch), watch:
                result = model(*args)
            return tree_map_only(torch.Tensor, watch.latest, result)

        recorded = make_fx(
            run, tracing_mode="real", pre_dispatch=True, _error_on_data_dependent_ops=False
        )(*copies)
        straight = Straight(recorded.graph)
        for node in recorded.graph.nodes:
            if node.op == "get_attr":
                tensor = getattr(recorded, node.target)
                value = before.get(id(tensor), tensor.detach().clone())
                node.target = straight.hold(names.get(id(tensor), node.target), value)
        frozen = _take_questions(recorded.graph)
    straight.call_as(model)
    with torch.no_grad(), meta.preserve_node_meta():
        return Recording(torch.export.export(straight, tuple(inputs), strict=False), frozen)


class Straight(torch.nn.Module):
    """Runs a graph; its constants have the names that they have in the recorded model."""

    def __init__(self, graph: Graph) -> None:
        super().__init__()
        self._graph = graph

    def hold(self, name: str, value: torch.Tensor) -> str:
        """Hold a constant, once; its name."""
        *path, last = name.split(".")
        module: torch.nn.Module = self
        for part in path:
            if part not in module._modules:
                module.add_module(part, torch.nn.Module())
            module = module.get_submodule(part)
        if last not in module._buffers:
            module.register_buffer(last, value)
        return name

    def call_as(self, model: torch.nn.Module) -> None:
        """Name the inputs as ``model`` does."""

        def forward(*args: torch.Tensor) -> Any:
            return Interpreter(self, graph=self._graph).run(*args)

        forward.__signature__ = inspect.signature(model.forward)  # type: ignore[attr-defined]
        self.forward = forward


class _Watch(TorchFunctionMode):
    """Notes where each operator comes from, and follows what the tracer does not see.

    ``t.data`` is a view that shares t's memory. After ``t.data = v``, t is v.
    """

    def __init__(self) -> None:
        super().__init__()
        self.path = ""
        self._given: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}

    def latest(self, tensor: torch.Tensor) -> torch.Tensor:
        """What stands for ``tensor`` now."""
        while id(tensor) in self._given:
            tensor = self._given[id(tensor)][1]
        return tensor

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run ``func`` on what its arguments stand for."""
        owner = getattr(func, "__self__", None)
        name = getattr(func, "__name__", "")
        place = {PATH: self.path, LINE: lines.running()}
        if owner is _DATA and name == "__set__":
            tensor, value = args
            with meta.annotate(place):
                self._set(tensor, self.latest(value))
            return None
        args, kwargs = tree_map_only(torch.Tensor, self.latest, (args, kwargs or {}))
        with meta.annotate(place):
            if owner is _DATA and name == "__get__":
                return args[0].detach()
            if name in _ASK:
                self._ask(args)
            return func(*args, **kwargs)

    def _set(self, tensor: torch.Tensor, value: torch.Tensor) -> None:
        value = value.detach()
        # The tracer must not take it for an operator of the network.
        with torch._C.DisableTorchFunction(), disable_proxy_modes_tracing():
            tensor.data = value
        if value is not tensor:
            self._given[id(tensor)] = (tensor, value)

    def _ask(self, args: Any) -> None:
        """Leave a node that shows what the value was made of."""
        for value in args:
            if isinstance(value, torch.Tensor):
                with meta.annotate({_ASKED: True}):
                    torch.ops.aten.alias.default(value)


@contextmanager
def _paths(model: torch.nn.Module, watch: _Watch) -> Iterator[None]:
    """Tell ``watch`` the path of the module whose forward runs."""
    names = {id(m): n for n, m in model.named_modules()}
    stack = [""]

    def enter(module: torch.nn.Module, _: Any) -> None:
        stack.append(names.get(id(module), stack[-1]))
        watch.path = stack[-1]

    def leave(*_: Any) -> None:
        stack.pop()
        watch.path = stack[-1]

    handles = [
        hooks.register_module_forward_pre_hook(enter),
        hooks.register_module_forward_hook(leave, always_call=True),
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _take_questions(graph: Graph) -> tuple[Frozen, ...]:
    """Take what only Python has read out of ``graph``; what that was, each line once."""
    of_inputs: set[Node] = set()
    found: dict[str, bool] = {}
    for node in graph.nodes:
        if node.op == "placeholder" or any(n in of_inputs for n in node.all_input_nodes):
            of_inputs.add(node)
        custom = node.meta.get("custom") or {}
        if custom.get(_ASKED):
            line = str(custom.get(LINE, ""))
            found[line] = found.get(line, False) or node in of_inputs
    for node in reversed(list(graph.nodes)):
        if node.op == "call_function" and not node.users and _only_asks(node):
            graph.erase_node(node)
    return tuple(Frozen(line, depends) for line, depends in found.items())


def _only_asks(node: Node) -> bool:
    """Whether ``node``, which nobody reads, changes nothing."""
    if not isinstance(node.target, torch._ops.OpOverload):
        # _set_grad_enabled, of which nothing is left without gradients.
        return True
    return not node.target._schema.is_mutable


def differs(
    program: ExportedProgram, model: torch.nn.Module, inputs: Sequence[torch.Tensor]
) -> float:
    """How far a recorded program is from ``model``, in eval mode, on inputs it has not seen.

    Of the largest value. The inputs are noise with the mean and deviation of ``inputs``, and these
    negated, which turns the branches that ask for a sign. 0 for a program that draws random
    numbers, which is refused elsewhere. Raises what the model raises.
    """
    if any(
        torch.Tag.nondeterministic_seeded in getattr(n.target, "tags", ())
        for n in program.graph.nodes
    ):
        return 0.0
    random = torch.Generator().manual_seed(0)
    straight, furthest = program.module(), 0.0
    noise = [[_like(x, random) for x in inputs] for _ in range(_FRESH)]
    for fresh in (*noise, [-x if x.is_floating_point() else x for x in inputs]):
        with torch.no_grad(), unchanged(model):
            theirs = tree_leaves(model(*(x.clone() for x in fresh)))
        with torch.no_grad(), unchanged(straight):
            ours = tree_leaves(straight(*fresh))
        for a, b in zip(ours, theirs, strict=True):
            if isinstance(b, torch.Tensor):
                furthest = max(furthest, _difference(a, b))
    return furthest


def _like(x: torch.Tensor, random: torch.Generator) -> torch.Tensor:
    deviation = x.std(correction=0)
    scale = float(deviation) or 1.0
    if not x.is_floating_point():
        return x.flip(0)
    return torch.randn(x.shape, generator=random) * scale + float(x.mean())


def _difference(a: torch.Tensor, b: torch.Tensor) -> float:
    if a.shape != b.shape:
        return float("inf")
    a, b = a.double(), b.double()
    apart = torch.where((a == b) | (a.isnan() & b.isnan()), 0.0, (a - b).abs())
    largest = float(b[b.isfinite()].abs().max()) if bool(b.isfinite().any()) else 1.0
    return float(apart.nan_to_num(nan=float("inf")).max()) / max(largest, 1e-30)
