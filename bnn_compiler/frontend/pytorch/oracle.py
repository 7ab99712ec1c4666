"""What PyTorch itself computes inside a network: the reference of ``verify``.

The outputs come from the user's module as it is. The values inside come from the graph that
torch.export makes of it, before this package has touched it, run by PyTorch node by node, in
float32 and beside it in float64. Every sign decides in float64 as it did in float32, so the two
differ by rounding only, which tells how much of a difference rounding explains.
"""

import copy
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.export import ExportedProgram
from torch.fx import Node
from torch.fx.node import map_aggregate, map_arg

from bnn_compiler.errors import VerifyError
from bnn_compiler.frontend.oracle import Levels, Observation, Origin, Truth
from bnn_compiler.frontend.pytorch.decisions import Decision, decisions
from bnn_compiler.frontend.pytorch.levels import is_level
from bnn_compiler.frontend.pytorch.state import unchanged
from bnn_compiler.frontend.pytorch.trace import TracedGraph, evaluating, op_name
from bnn_compiler.ops.general import primitive

#: Rounding explains this many times PyTorch's own difference between float32 and float64 ...
_TIMES = 8.0
#: ... and this share of the largest value, where PyTorch happened to be exact. More of it if sums
#: are longer than this: they are added in sequence here, in blocks by PyTorch, and the error grows
#: with the root of their length.
_FLOOR, _LONG = 2.0**-18, 256


@dataclass(frozen=True)
class TorchOracle:
    """PyTorch's view of a network: its ``model``, its ``graph``, and the ``origins`` of values."""

    model: torch.nn.Module | ExportedProgram
    graph: TracedGraph
    origins: Mapping[str, Origin]

    def observe(self, inputs: Sequence[NDArray[Any]], wanted: set[str]) -> Observation:
        """Run both on ``inputs`` and keep the ``wanted`` values, and every sign's.

        Raises VerifyError if the module cannot be run or no longer returns what it was exported
        with.
        """
        tensors = _tensors(inputs)
        origins = {
            name: origin for name, origin in self.origins.items() if name in wanted or origin.source
        }
        run = _TwoPrecisions(self.graph, origins)
        outputs = run.run(tensors)
        values = {
            name: truth
            for name, origin in origins.items()
            if (truth := _truth(origin, run)) is not None
        }
        module_outputs = self._module_outputs(tensors, outputs)
        return Observation(module_outputs, outputs, values, run.decided_zeros)

    def _module_outputs(self, inputs: Sequence[torch.Tensor], outputs: list[Truth]) -> list[Truth]:
        found = tensors_of(call_module(self.model, inputs))
        shapes = [tuple(t.shape) for t in found], [t.value.shape for t in outputs]
        if shapes[0] != shapes[1]:
            raise VerifyError(
                f"the module returns shapes {shapes[0]}, its export {shapes[1]}: it depends on"
                " more than its inputs"
            )
        return [
            replace(t, value=_array(f).astype(t.value.dtype))
            for t, f in zip(outputs, found, strict=True)
        ]

    def exact_difference(self, inputs: Sequence[NDArray[Any]]) -> float:
        """Largest difference of module and graph, relative to the largest value, in float64.

        Of a module that cannot be run in float64, in float32.
        """
        tensors = _tensors(inputs)
        run = _TwoPrecisions(self.graph, {}, keep_outputs=True)
        single = run.run(tensors)
        try:
            theirs = tensors_of(call_module(_in_double(self.model), [_widened(x) for x in tensors]))
            ours = run.double_outputs
        # A module may do anything with a dtype it does not expect.
        except Exception:
            theirs = tensors_of(call_module(self.model, tensors))
            ours = [torch.from_numpy(t.value) for t in single]
        return max(
            (
                float((a.double() - b).abs().max()) / max(float(b.abs().max()), 1e-30)
                for a, b in zip(theirs, (b.double() for b in ours), strict=True)
            ),
            default=0.0,
        )


def _in_double(model: torch.nn.Module | ExportedProgram) -> torch.nn.Module:
    module = model.module() if isinstance(model, ExportedProgram) else model
    return copy.deepcopy(module).double()


def call_module(model: torch.nn.Module | ExportedProgram, inputs: Sequence[torch.Tensor]) -> Any:
    """What the user's module returns in eval mode; its inputs, state and mode stay as they are.

    Raises VerifyError with the module's own reason if it cannot.
    """
    module = model.module() if isinstance(model, ExportedProgram) else model
    copies = [x.clone() for x in inputs]
    try:
        with torch.no_grad(), unchanged(module):
            if isinstance(model, ExportedProgram):
                return module(*copies)
            with evaluating(module):
                return module(*copies)
    # The module runs any Python code.
    except Exception as e:
        reason = (str(e).strip().splitlines() or [""])[0]
        raise VerifyError(
            f"{type(module).__name__} cannot be run: {type(e).__name__}: {reason}"
        ) from e


def tensors_of(result: Any) -> list[torch.Tensor]:
    """The tensors of a result in the order torch.export lists them."""
    leaves = torch.utils._pytree.tree_leaves(result)
    return [t for t in leaves if isinstance(t, torch.Tensor)]


def _tensors(inputs: Sequence[NDArray[Any]]) -> list[torch.Tensor]:
    """The same memory where torch takes it."""
    return [torch.from_numpy(np.require(x, requirements=["C", "W"])) for x in inputs]


def _array(value: torch.Tensor) -> NDArray[Any]:
    array: NDArray[Any] = value.detach().numpy()
    return array


def _truth(origin: Origin, run: "_TwoPrecisions") -> Truth | None:
    """None for a value that is not what the importer took it for."""
    found = run.kept.get(origin.value)
    size = int(np.prod(origin.shape))
    if found is None or (found.value.size != size and not origin.moves):
        return None
    if not origin.source:
        unsure = found.ambiguous
        return Truth(
            _stored(found.value, origin),
            found.rounding,
            ambiguous=None if unsure is None else _stored(unsure, origin),
        )
    before, margin = run.kept.get(origin.source), run.margins.get(origin.value)
    if before is None or margin is None or margin.size != found.value.size:
        return None
    value = found.value
    if origin.levels is not None:
        value = np.rint((value - origin.levels.center) / origin.levels.half).astype(np.float32)
    return Truth(_stored(value, origin), before.rounding, _stored(margin, origin))


def _stored(value: NDArray[Any], origin: Origin) -> NDArray[Any]:
    """[N, C, H, W], or [N, F] with F = C * H * W, or tokens [..., C], as [N, H, W, C]."""
    for move, parameters in origin.moves:
        value = primitive(move).meaning(parameters, value)
    if origin.last:
        return value.reshape(origin.shape)
    n, h, w, c = origin.shape
    return value.reshape(n, c, h, w).transpose(0, 2, 3, 1)


def rounding_of(value: torch.Tensor, exact: torch.Tensor, longest: int) -> float:
    """How large a difference rounding explains, from a float32 value and the float64 one.

    ``longest`` is the length of the longest sum in the network.
    """
    if not value.numel():
        return 0.0
    exact = exact.double()
    finite = exact.abs()[torch.isfinite(exact)]
    if not finite.numel():
        return 0.0
    own = (value.double() - exact).abs()
    own = own[torch.isfinite(own)]
    floor = _FLOOR * max(1.0, math.sqrt(longest / _LONG))
    differ = float(own.max()) if own.numel() else 0.0
    return _TIMES * differ + floor * float(finite.max())


def _margin(value: torch.Tensor, exact: torch.Tensor, levels: Levels | None) -> NDArray[np.float64]:
    """How far a sign's input is from where it decides, in float32 or float64: the larger."""
    if levels is None:
        return _array(torch.maximum(exact.abs(), value.abs().double()))
    edge = torch.from_numpy(levels.edge)
    return _array(torch.maximum((exact - edge).abs(), (value - edge).abs().double()))


def longest_sum(traced: TracedGraph) -> int:
    """Products of the longest sum of a convolution or a linear layer."""
    longest = 1
    for node in traced.graph.nodes:
        if op_name(node) in ("conv2d", "linear") and isinstance(node.args[1], Node):
            weight = node.args[1].meta.get("val")
            if isinstance(weight, torch.Tensor):
                longest = max(longest, int(weight[0].numel()))
    return longest


class _TwoPrecisions:
    """A graph run in float32 and float64 side by side; signs decide alike."""

    def __init__(
        self, traced: TracedGraph, origins: Mapping[str, Origin], keep_outputs: bool = False
    ) -> None:
        self._traced = traced
        self._signs = {o.value: o for o in origins.values() if o.source}
        self._wanted = {o.value for o in origins.values()}
        self._longest = longest_sum(traced)
        self._before = {o.source for o in self._signs.values()}
        self._keep_outputs = keep_outputs
        self._decisions = decisions(traced, self._judged())
        self._single: dict[Node, Any] = {}
        self._double: dict[Node, Any] = {}
        self.kept: dict[str, Truth] = {}
        #: Of each sign by its own name: how far its input is from its edge, in float32 or float64.
        self.margins: dict[str, NDArray[np.float64]] = {}
        self.double_outputs: list[torch.Tensor] = []
        self.decided_zeros = 0

    def run(self, inputs: Sequence[torch.Tensor]) -> list[Truth]:
        """The outputs."""
        waiting = iter(inputs)
        last = _last_uses(self._traced, self._decisions)
        outputs: list[Truth] = []
        with torch.no_grad():
            for node in self._traced.graph.nodes:
                if node.op == "output":
                    outputs = self._outputs(node)
                    break
                self._node(node, waiting)
                for done in last.get(node, ()):
                    self._single.pop(done, None)
                    self._double.pop(done, None)
        return outputs

    def _node(self, node: Node, waiting: Iterator[torch.Tensor]) -> None:
        if node.op == "placeholder":
            value = next(waiting)
            self._single[node], self._double[node] = value, _widened(value)
        elif node.op == "get_attr":
            # No double: what depends on constants only is computed once, in float32.
            self._single[node] = self._traced.constants[str(node.target)]
            return
        else:
            self._call(node)
        if node.name in self._signs:
            self._decide(node)
        elif is_level(node):
            self._double[node] = self._single[node].double()
        if node.name in self._wanted or node.name in self._before:
            self._keep(node)

    def _call(self, node: Node) -> None:
        function: Any = node.target
        args: Any
        kwargs: Any
        args, kwargs = (map_arg(a, self._single.__getitem__) for a in (node.args, node.kwargs))
        self._single[node] = function(*args, **kwargs)
        if any(n in self._double for n in node.all_input_nodes):
            args, kwargs = (
                map_aggregate(map_arg(a, self._as_double), _double_dtype)
                for a in (node.args, node.kwargs)
            )
            # What is made of numbers alone has the default dtype.
            self._double[node] = map_aggregate(function(*args, **kwargs), _widened)

    def _as_double(self, node: Node) -> Any:
        if node in self._double:
            return self._double[node]
        return map_aggregate(self._single[node], _widened)

    def _decide(self, node: Node) -> None:
        """The sign's decision holds in both; where float32 met 0 by rounding it is +1."""
        value, levels = self._single[node], self._signs[node.name].levels
        margin = self.margins.get(node.name)
        if margin is not None and margin.shape == value.shape:
            center, half = (
                (torch.zeros(()), torch.ones(()))
                if levels is None
                else map(torch.from_numpy, (levels.center, levels.half))
            )
            accidents = (value == center) & torch.from_numpy(margin != 0)
            count = int(accidents.sum())
            if count:
                self.decided_zeros += count
                value = torch.where(accidents, center + half, value)
                self._single[node] = value
        self._double[node] = value.double()

    def _keep(self, node: Node) -> None:
        value, exact = self._single[node], self._as_double(node)
        if isinstance(value, tuple | list):
            value, exact = value[0], exact[0]
        for name, sign in self._signs.items():
            if sign.source == node.name:
                self.margins[name] = _margin(value, exact, sign.levels)
        if node in self._decisions and node.name in self._wanted:
            whole = self._discrete(node, self._decisions[node])
            self.kept[node.name] = replace(whole, value=whole.value.astype(np.float32))
            return
        kept = value.float() if node.name in self._wanted else torch.empty(0)
        self.kept[node.name] = Truth(_array(kept), rounding_of(value, exact, self._longest))

    def _outputs(self, node: Node) -> list[Truth]:
        found = []
        for leaf in node.args[0]:  # type: ignore[union-attr]
            if not isinstance(leaf, Node):
                continue
            value, exact = self._single[leaf], self._as_double(leaf)
            if leaf in self._decisions:
                found.append(self._discrete(leaf, self._decisions[leaf]))
            else:
                rounding = rounding_of(value, exact, self._longest)
                found.append(Truth(_array(value.float()), rounding))
            if self._keep_outputs:
                self.double_outputs.append(exact)
        return found

    def _judged(self) -> list[Node]:
        """The outputs, and what is wanted."""
        nodes = list(self._traced.graph.nodes)
        results = [n for n in nodes[-1].args[0] if isinstance(n, Node)]
        return [*results, *(n for n in nodes if n.name in self._wanted)]

    def _discrete(self, node: Node, decision: Decision) -> Truth:
        """An integer or truth value, as it is."""
        unsure = decision.ambiguous(self._single, self._rounding)
        return Truth(_array(self._single[node]), 0.0, ambiguous=_array(unsure))

    def _rounding(self, node: Node) -> float:
        """Of a float; 0 of what is the same in float64, as sums of signs are."""
        value, exact = self._single[node], self._as_double(node)
        if torch.equal(value.double(), exact):
            return 0.0
        return rounding_of(value, exact, self._longest)


def _last_uses(traced: TracedGraph, decided: Mapping[Node, Decision]) -> dict[Node, list[Node]]:
    """The nodes whose values nobody needs after each node, nor to judge the ``decided``."""
    last: dict[Node, Node] = {}
    nodes = list(traced.graph.nodes)
    outputs = set(nodes[-1].all_input_nodes)
    for node in nodes:
        last[node] = node
        for source in node.all_input_nodes:
            last[source] = node
    at = {node: i for i, node in enumerate(nodes)}
    for node, decision in decided.items():
        # Outputs are judged at the end.
        judged = nodes[-1] if node in outputs else node
        for source in decision.reads:
            last[source] = max(last[source], judged, key=at.__getitem__)
    found: dict[Node, list[Node]] = {}
    for node, user in last.items():
        found.setdefault(user, []).append(node)
    return found


def _widened(value: Any) -> Any:
    wide = isinstance(value, torch.Tensor) and value.dtype == torch.float32
    return value.double() if wide else value


def _double_dtype(value: Any) -> Any:
    return torch.float64 if value is torch.float32 else value
