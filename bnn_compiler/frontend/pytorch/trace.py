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
from torch.export.graph_signature import InputKind, OutputKind, TensorArgument
from torch.fx import Graph, GraphModule, Interpreter, Node

from bnn_compiler.errors import InputError, ModelError
from bnn_compiler.frontend.pytorch.quiet import quiet

#: Dtypes whose values float32 does not hold, or that differ from it in every operation.
_NOT_FLOAT32 = (torch.float64, torch.float16, torch.bfloat16, torch.complex64, torch.complex128)


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
    meta["tensor"] of a constant is its name in the model ("layer1.0.conv1.weight").
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
    """Trace a model in eval mode; what it writes into inputs and buffers is left out.

    Raises ModelError, with torch's reason, if it cannot be traced, and InputError for inputs of
    another number, shape or dtype than can be compiled.
    """
    program = model if isinstance(model, ExportedProgram) else _export(model, tuple(example_inputs))
    program = _functional(program)
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
                constants[node.name] = _constant(program, spec.target)
                env[node] = graph.create_node("get_attr", node.name)
        elif node.op == "output":
            results = [env.get(n, n) for n in _user_outputs(program, node)]
            env[node] = graph.output(tuple(results))
        else:
            env[node] = graph.node_copy(node, lambda n: env[n])
        env[node].meta = {
            "val": node.meta.get("val"),
            "module_path": module_path(node),
            "origin": env[node].name,
            "tensor": str(specs[node.name].target) if node.op == "placeholder" else "",
        }
    _check_inputs(inputs, example_inputs)
    for node in env.values():
        tensor = constants.get(str(node.target)) if node.op == "get_attr" and node.users else None
        if tensor is not None:
            _check_dtype(str(node.target), tensor)
    return TracedGraph(graph, constants, tuple(inputs))


def _check_dtype(name: str, tensor: torch.Tensor) -> None:
    if tensor.dtype in _NOT_FLOAT32:
        raise ModelError(
            f"{name} is {tensor.dtype}; only float32 can be compiled (model.float() converts"
            " parameters and buffers)"
        )


def _functional(program: ExportedProgram) -> ExportedProgram:
    """``program`` without in-place operators."""
    try:
        with quiet(), torch.no_grad():
            functional: ExportedProgram = program.run_decompositions({})
            return functional
    # It runs the operators' Python code, which raises what it likes.
    except Exception as e:
        raise ModelError(f"torch cannot functionalise the program: {_reason(e)}") from e


def _user_outputs(program: ExportedProgram, node: Node) -> list[Node]:
    """What forward returns, flattened, without the inputs and buffers that it wrote to."""
    specs = program.graph_signature.output_specs
    pairs = zip(_list(node.args[0]), specs, strict=True)
    results = [(n, s.arg) for n, s in pairs if s.kind == OutputKind.USER_OUTPUT]
    for index, (result, argument_) in enumerate(results):
        if not isinstance(result, Node) or not isinstance(argument_, TensorArgument):
            value = getattr(argument_, "value", result)
            raise ModelError(f"output {index} is {value!r}; forward must return tensors only")
    if not results:
        raise ModelError("forward returns no tensor")
    return [n for n, _ in results if isinstance(n, Node)]


def _list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value]


def _check_inputs(inputs: Sequence[TensorInfo], examples: Sequence[torch.Tensor]) -> None:
    if not inputs:
        raise ModelError("the network takes no input; its output is a constant")
    if len(inputs) != len(examples):
        raise InputError(f"the network takes {len(inputs)} inputs, {len(examples)} were given")
    for info, example in zip(inputs, examples, strict=True):
        if info.dtype != torch.float32:
            raise ModelError(f"input {info.name} is {info.dtype}; only float32 can be compiled")
        if info.shape != tuple(example.shape):
            raise InputError(
                f"input {info.name} was exported as {list(info.shape)}, the example is"
                f" {list(example.shape)}; export again for another shape"
            )


def _export(model: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> ExportedProgram:
    for name, parameter in model.named_parameters():
        _check_dtype(name, parameter)
    try:
        with quiet(), evaluating(model):
            return torch.export.export(model, inputs, strict=False)
    # torch.export raises whatever the traced Python code raises.
    except Exception as e:
        raise ModelError(f"torch.export cannot trace {type(model).__name__}: {_reason(e)}") from e


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


def _reason(error: Exception) -> str:
    """The type and the first line of an error of torch."""
    return f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0]}"


def _info(node: Node) -> TensorInfo:
    value = node.meta["val"]
    if not isinstance(value, torch.Tensor):
        raise ModelError(f"input {node.name} is a {type(value).__name__}; only tensors can be")
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


def _schema(node: Node) -> list[Any]:
    """The declared arguments of an aten operator; none for anything else."""
    schema = getattr(node.target, "_schema", None)
    return list(schema.arguments) if schema is not None else []


def arguments(node: Node) -> tuple[list[Any], dict[str, Any]]:
    """Positional and keyword arguments, with every one positional that the operator lets be."""
    args, kwargs = list(node.args), dict(node.kwargs)
    for declared in _schema(node)[len(args) :]:
        if declared.kwarg_only or not kwargs:
            break
        args.append(kwargs.pop(declared.name, declared.default_value))
    return args, kwargs


def argument(node: Node, name: str) -> Any:
    """An argument of an aten operator by its declared name, or its default; None without one."""
    for index, declared in enumerate(_schema(node)):
        if declared.name == name:
            given = node.args[index] if index < len(node.args) else declared.default_value
            return node.kwargs.get(name, given)
    return None


def describe(node: Node) -> str:
    """ "aten.foo.default at module 'layer1.0.act'" """
    path = node.meta.get("module_path", "")
    where = f"module '{path}'" if path else "the top level of the model"
    return f"{node.target} at {where}"


def interpreter(traced: TracedGraph) -> Interpreter:
    """Runs nodes of a traced graph with torch."""
    root = torch.nn.Module()
    for name, tensor in traced.constants.items():
        root.register_buffer(name, tensor)
    return Interpreter(GraphModule(root, traced.graph))
