"""torch.export, then a flat FX graph of aten operators whose constants are named tensors.

The program is functionalised but not decomposed, so convolution, batch norm, linear, PReLU and
pools arrive as one node each.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind
from torch.fx import Graph, GraphModule, Interpreter, Node

from bnn_compiler.errors import ModelError


@dataclass(frozen=True)
class TensorInfo:
    """Name, shape and dtype of an input or output."""

    name: str
    shape: tuple[int, ...]
    dtype: torch.dtype


@dataclass(frozen=True)
class TracedGraph:
    """``graph``: placeholders are the user's inputs, get_attr nodes name ``constants``.

    Every node has meta["val"] (shape, dtype) and meta["module_path"] ("layer1.0.conv1"). A node
    with meta["origin"] has the value of the node of that name in PyTorch's own graph.
    """

    graph: Graph
    constants: dict[str, torch.Tensor]
    inputs: tuple[TensorInfo, ...]

    def copy(self) -> "TracedGraph":
        """The same with a graph of its own."""
        graph = Graph()
        result = graph.graph_copy(self.graph, {})
        graph.output(result)
        return TracedGraph(graph, self.constants, self.inputs)


def trace(
    model: torch.nn.Module | ExportedProgram, example_inputs: Sequence[torch.Tensor]
) -> TracedGraph:
    """Trace a model in eval mode. Raises ModelError, with torch's reason, if it cannot."""
    program = model if isinstance(model, ExportedProgram) else _export(model, tuple(example_inputs))
    with torch.no_grad():
        program = program.run_decompositions({})
    graph = Graph()
    constants: dict[str, torch.Tensor] = {}
    inputs: list[TensorInfo] = []
    env: dict[Node, Node] = {}
    specs = {s.arg.name: s for s in program.graph_signature.input_specs}
    for node in program.graph.nodes:
        if node.op == "placeholder":
            spec = specs[node.name]
            if spec.kind == InputKind.USER_INPUT:
                env[node] = graph.placeholder(node.name)
                inputs.append(_info(node))
            else:
                tensor = _constant(program, spec.target)
                constants[node.name] = tensor
                env[node] = graph.create_node("get_attr", node.name)
        else:
            env[node] = graph.node_copy(node, lambda n: env[n])
        env[node].meta = {
            "val": node.meta.get("val"),
            "module_path": module_path(node),
            "origin": env[node].name,
        }
    for info in inputs:
        if info.dtype != torch.float32:
            raise ModelError(f"input {info.name} is {info.dtype}; only float32 can be compiled")
    for name, tensor in constants.items():
        if tensor.dtype in (torch.float64, torch.float16, torch.bfloat16):
            raise ModelError(f"{name} is {tensor.dtype}; call model.float() first")
    return TracedGraph(graph, constants, tuple(inputs))


def _export(model: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> ExportedProgram:
    try:
        with evaluating(model):
            return torch.export.export(model, inputs, strict=False)
    # torch.export raises whatever the traced Python code raises.
    except Exception as e:
        reason = (str(e).strip().splitlines() or [""])[0]
        raise ModelError(
            f"torch.export cannot trace {type(model).__name__}: {type(e).__name__}: {reason}"
        ) from e


@contextmanager
def evaluating(model: torch.nn.Module) -> Iterator[None]:
    """In eval mode, and afterwards as it was."""
    training = {m: m.training for m in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, mode in training.items():
            module.training = mode


def _info(node: Node) -> TensorInfo:
    value = node.meta["val"]
    if any(not isinstance(v, int) for v in value.shape):
        raise ModelError(f"input {node.name} has a dynamic shape; export with a fixed one")
    return TensorInfo(node.name, tuple(value.shape), value.dtype)


def _constant(program: ExportedProgram, target: str | None) -> torch.Tensor:
    for store in (program.state_dict, program.constants):
        if target in store:
            tensor: torch.Tensor = store[target].detach()
            return tensor
    raise ModelError(f"the exported program has no tensor {target}")


def module_path(node: Node) -> str:
    """The path of the module a node comes from, "" at the top."""
    stack: dict[str, Any] = node.meta.get("nn_module_stack") or {}
    path = [entry[0] for entry in stack.values()]
    return str(path[-1]) if path else ""


def op_name(node: Any) -> str:
    """The aten name of a node without its overload, "" for anything else."""
    if isinstance(node, Node) and node.op == "call_function":
        return str(getattr(node.target, "__name__", node.target)).split(".")[0]
    return ""


def describe(node: Node) -> str:
    """ "aten.foo.default at module 'layer1.0.act'" """
    path = node.meta.get("module_path", "")
    where = f"module '{path}'" if path else "the top level of the model"
    return f"{node.target} at {where}"


class Capture(Interpreter):
    """Runs a traced graph with torch and keeps every node's value."""

    def __init__(self, traced: TracedGraph) -> None:
        root = torch.nn.Module()
        for name, tensor in traced.constants.items():
            root.register_buffer(name, tensor)
        super().__init__(GraphModule(root, traced.graph))
        self.values: dict[str, torch.Tensor] = {}

    def run_node(self, n: Node) -> Any:
        """One node, remembered by name."""
        result = super().run_node(n)
        self.values[n.name] = result
        return result


def run_capturing(
    traced: TracedGraph, inputs: Sequence[torch.Tensor]
) -> tuple[list[torch.Tensor], dict[str, torch.Tensor]]:
    """The outputs and every node's value by name, computed by torch."""
    capture = Capture(traced)
    with torch.no_grad():
        result = capture.run(*inputs)
    outputs = list(result) if isinstance(result, list | tuple) else [result]
    return outputs, capture.values
