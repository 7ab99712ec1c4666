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

from bnn_compiler.errors import BnnCompilerError, InputError, ModelError
from bnn_compiler.frontend.pytorch import lines, masks, record
from bnn_compiler.frontend.pytorch.quiet import quiet
from bnn_compiler.frontend.pytorch.state import unchanged
from bnn_compiler.ops.primitives import DTYPES

#: Dtypes whose values float32 does not hold, or that differ from it in every operation.
_NOT_FLOAT32 = (torch.float64, torch.float16, torch.bfloat16, torch.complex64, torch.complex128)

#: Dtypes of inputs.
INPUTS = ("float32", *DTYPES)
#: How far a recorded run may be from the model on other inputs, of the largest value.
_SAME = 1e-4


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
    meta["tensor"] of a constant is its name in the model ("layer1.0.conv1.weight"), meta["line"]
    of an operator where the user wrote it ("models/resnet.py:52"). ``note`` says what was frozen
    when it was traced, "" for nothing.
    """

    graph: Graph
    constants: dict[str, torch.Tensor]
    inputs: tuple[TensorInfo, ...]
    note: str = ""

    def copy(self) -> "TracedGraph":
        """The same with a graph of its own."""
        graph = Graph()
        result = graph.graph_copy(self.graph, {})
        graph.output(result)
        return TracedGraph(graph, self.constants, self.inputs, self.note)


def trace(
    model: torch.nn.Module | ExportedProgram, example_inputs: Sequence[torch.Tensor]
) -> TracedGraph:
    """Trace a model in eval mode; what it writes into inputs and buffers is left out.

    Raises ModelError, with torch's reason, if it cannot be traced, and InputError for inputs of
    another number, shape or dtype than can be compiled.
    """
    program, note = _program(model, tuple(example_inputs))
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
            "line": _line(node),
        }
    _check_inputs(inputs, example_inputs)
    for node in env.values():
        tensor = constants.get(str(node.target)) if node.op == "get_attr" and node.users else None
        if tensor is not None:
            _check_dtype(str(node.target), tensor)
    return TracedGraph(graph, constants, tuple(inputs), note)


def _check_dtype(name: str, tensor: torch.Tensor) -> None:
    if tensor.dtype in _NOT_FLOAT32:
        raise ModelError(
            f"{name} is {tensor.dtype}; only float32 can be compiled (model.float() converts"
            " parameters and buffers)"
        )


def _program(
    model: torch.nn.Module | ExportedProgram, inputs: tuple[torch.Tensor, ...]
) -> tuple[ExportedProgram, str]:
    """A program without in-place operators, and what was frozen to get it."""
    if isinstance(model, ExportedProgram):
        try:
            return _functional(masks.sized(_fixed(model, inputs), inputs, _place)), ""
        except Exception as e:
            raise ModelError(f"torch cannot functionalise the program: {_reason(e)}") from e
    for name, parameter in model.named_parameters():
        _check_dtype(name, parameter)
    # torch.export raises whatever the traced Python code raises, and so does running it.
    with evaluating(model):
        try:
            with quiet(), unchanged(model):
                exported = torch.export.export(model, inputs, strict=False)
                return _functional(masks.sized(exported, inputs, _place)), ""
        except Exception as e:
            refused = e
        try:
            with quiet():
                return _recorded(model, inputs, refused)
        except BnnCompilerError:
            raise
        except Exception as e:
            raise ModelError(
                f"{type(model).__name__} can be neither exported ({_refusal(refused)}) nor"
                f" recorded: {_reason(e)}"
            ) from e


def _fixed(program: ExportedProgram, inputs: tuple[torch.Tensor, ...]) -> ExportedProgram:
    """A program of dynamic shapes for those of ``inputs``; any other as it is."""
    if not program.range_constraints:
        return program
    with quiet():
        return torch.export.export(program.module(), inputs, strict=False)


def _recorded(
    model: torch.nn.Module, inputs: tuple[torch.Tensor, ...], refused: Exception
) -> tuple[ExportedProgram, str]:
    found = record.record(model, inputs)
    program = _functional(masks.sized(found.program, inputs, _place))
    frozen = [f"{f.line} ({'of the input' if f.of_inputs else 'constant'})" for f in found.frozen]
    furthest = record.differs(program, model, inputs)
    if furthest > _SAME:
        where = f"; what forward decided at {', '.join(frozen)} was frozen" if frozen else ""
        raise ModelError(
            f"{type(model).__name__} cannot be exported ({_refusal(refused)}), and one recorded"
            f" run of it does not stand for others: on a fresh input they differ by {furthest:.1e}"
            f" of the largest value{where}"
        )
    note = (
        f"{type(model).__name__}: torch.export cannot trace it ({_refusal(refused)}), so one run"
        " was recorded; on fresh inputs it gives the same"
    )
    return program, note + (f". Frozen as in that run: {', '.join(frozen)}" if frozen else "")


def _functional(program: ExportedProgram) -> ExportedProgram:
    """``program`` without in-place operators. Raises what torch raises."""
    # It runs the operators' Python code, which raises what it likes.
    with quiet(), torch.no_grad():
        functional: ExportedProgram = program.run_decompositions({})
        return functional


def _user_outputs(program: ExportedProgram, node: Node) -> list[Node]:
    """What forward returns, flattened, without what it wrote to.

    None, numbers and text are left out: a trace holds them as constants.
    """
    specs = program.graph_signature.output_specs
    pairs = zip(_list(node.args[0]), specs, strict=True)
    results = [
        (n, s.arg)
        for n, s in pairs
        if s.kind == OutputKind.USER_OUTPUT and not isinstance(n, type(None) | int | float | str)
    ]
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
        if str(info.dtype).removeprefix("torch.") not in INPUTS:
            known = ", ".join(INPUTS)
            raise ModelError(f"input {info.name} is {info.dtype}; known are {known}")
        if info.shape != tuple(example.shape):
            raise InputError(
                f"input {info.name} was exported as {list(info.shape)}, the example is"
                f" {list(example.shape)}; export again for another shape"
            )


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
    """The type and the first line of an error of torch, and the line of the user's it is from."""
    line = lines.raised(error.__traceback__)
    text = (str(error).strip().splitlines() or [""])[0]
    return f"{type(error).__name__}: {text}" + (f" at {line}" if line else "")


def _refusal(error: Exception) -> str:
    """Where torch.export gave up, which says more than its reason; the reason without a line."""
    line = lines.raised(error.__traceback__)
    return f"{type(error).__name__} at {line}" if line else _reason(error)


def _line(node: Node) -> str:
    custom = node.meta.get("custom") or {}
    return str(custom.get(record.LINE) or lines.written(node.meta.get("stack_trace")))


def _place(node: Node) -> dict[str, str]:
    """Where an operator comes from, in the words of a recording."""
    return {record.PATH: module_path(node), record.LINE: _line(node)}


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
    recorded = (node.meta.get("custom") or {}).get(record.PATH)
    if recorded is not None:
        return str(recorded)
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
    """ "aten.foo.default at module 'layer1.0.act' (models/resnet.py:52)" """
    path, line = node.meta.get("module_path", ""), node.meta.get("line", "")
    where = f"module '{path}'" if path else "the top level of the model"
    return f"{node.target} at {where}" + (f" ({line})" if line else "")


def interpreter(traced: TracedGraph) -> Interpreter:
    """Runs nodes of a traced graph with torch."""
    root = torch.nn.Module()
    for name, tensor in traced.constants.items():
        root.register_buffer(name, tensor)
    return Interpreter(GraphModule(root, traced.graph))
