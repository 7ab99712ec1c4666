"""A graph of ONNX becomes a module of PyTorch, one step for each operator that computes."""

import inspect
import keyword
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bnn_compiler.errors import BnnCompilerError, ModelError
from bnn_compiler.frontend.incomplete import Incomplete, Problem
from bnn_compiler.frontend.onnx import operators
from bnn_compiler.frontend.onnx.constants import OF_SHAPES
from bnn_compiler.frontend.onnx.file import OnnxFile, plain
from bnn_compiler.frontend.onnx.node import Node
from bnn_compiler.frontend.onnx.package import onnx as load_onnx


class Step(nn.Module):
    """One operator; its constant inputs are buffers."""

    def __init__(self, node: Node, constants: Mapping[int, Tensor]) -> None:
        super().__init__()
        self.node = node
        self.places: list[str | None] = []
        for position, name in enumerate(node.inputs):
            self.places.append(None)
            if position in constants:
                buffer = _unique(_identifier(name), set(dir(self)))
                self.places[position] = buffer
                self.register_buffer(buffer, constants[position])

    @property
    def sources(self) -> list[str]:
        """Names of the computed inputs, in order."""
        pairs = zip(self.node.inputs, self.places, strict=True)
        return [name for name, buffer in pairs if buffer is None and name]

    def forward(self, *computed: Tensor) -> tuple[Tensor, ...]:
        """The outputs of the operator that its translation has."""
        given = iter(computed)
        inputs = [
            getattr(self, buffer) if buffer else next(given) if name else None
            for name, buffer in zip(self.node.inputs, self.places, strict=True)
        ]
        return run(self.node, inputs)


class OnnxNetwork(nn.Module):
    """A graph for inputs of fixed shapes. ``known`` are the constants that operators made."""

    def __init__(
        self, inputs: Sequence[str], outputs: Sequence[str], constants: Mapping[str, Tensor]
    ) -> None:
        super().__init__()
        self.input_names, self.output_names = tuple(inputs), tuple(outputs)
        self.order: list[str] = []
        self.known: dict[str, tuple[Node, Tensor]] = {}
        self.held: dict[str, str] = {}
        for name in outputs:
            if name in constants:
                self.hold(name, constants[name])

    def hold(self, name: str, tensor: Tensor) -> None:
        """Keep a constant that is an output."""
        self.held[name] = _unique("result_" + _identifier(name), set(self.held.values()))
        self.register_buffer(self.held[name], tensor)

    def steps(self) -> list[Step]:
        """In order."""
        return [self.get_submodule(name) for name in self.order]  # type: ignore[misc]

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """The outputs of the graph."""
        values = dict(zip(self.input_names, inputs, strict=True))
        for step in self.steps():
            results = step(*(values[name] for name in step.sources))
            values.update(zip(step.node.outputs, results, strict=False))
        return tuple(
            getattr(self, self.held[name]) if name in self.held else values[name]
            for name in self.output_names
        )


def _of_inputs(inputs: Sequence[str]) -> type[OnnxNetwork]:
    """The class whose ``forward`` has a parameter for each input, after which torch names it."""

    def forward(self: OnnxNetwork, *values: Tensor) -> tuple[Tensor, ...]:
        return OnnxNetwork.forward(self, *values)

    names = ["self"]
    for name in inputs:
        names.append(_unique(_identifier(name), set(names)))
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    signature = inspect.Signature([inspect.Parameter(n, kind) for n in names])
    forward.__signature__ = signature  # type: ignore[attr-defined]
    return type(OnnxNetwork.__name__, (OnnxNetwork,), {"forward": forward})


def run(node: Node, inputs: Sequence[Tensor | None]) -> tuple[Tensor, ...]:
    """The outputs of one operator. Raises ModelError where torch refuses its inputs."""
    handler = operators.find(node.domain, node.operator)
    assert handler is not None, "operators without a translation were refused"
    try:
        results = handler(node, *inputs)
    except BnnCompilerError:
        raise
    except (RuntimeError, ValueError, IndexError, TypeError, AttributeError, KeyError) as e:
        shapes = ", ".join("none" if x is None else str(list(x.shape)) for x in inputs)
        reason = (str(e).splitlines() or [type(e).__name__])[0]
        raise node.wrong(f"inputs of shapes {shapes} do not go with it: {reason}") from e
    return results if isinstance(results, tuple) else (results,)


@dataclass
class _Translation:
    """``values`` are the tensors of the example, ``constants`` those that no input changes."""

    network: OnnxNetwork
    constants: dict[str, Tensor]
    values: dict[str, Tensor]

    def add(self, node: Node) -> None:
        for name in node.inputs:
            if name and name not in self.constants and name not in self.values:
                raise node.fail(f"its input {name!r} is a result that cannot be compiled")
        known = {i: self.constants[n] for i, n in enumerate(node.inputs) if n in self.constants}
        present = [i for i, n in enumerate(node.inputs) if n]
        inputs = [self._value(name) for name in node.inputs]
        if len(known) == len(present) or node.operator in OF_SHAPES:
            for name, tensor in zip(node.outputs, run(node, inputs), strict=False):
                if name:
                    self.constants[name] = tensor
                    self.network.known[name] = (node, tensor)
                    if name in self.network.output_names:
                        self.network.hold(name, tensor)
            return
        for i, tensor in known.items():
            if tensor.dtype == torch.float64:
                raise node.fail(f"its input {node.inputs[i]!r} is float64; only float32 can be")
        step = Step(node, known)
        name = _unique(_identifier(node.name), set(self.network.order) | set(dir(self.network)))
        self.network.add_module(name, step)
        self.network.order.append(name)
        with torch.no_grad():
            results = step(*(self.values[n] for n in step.sources))
        self.values.update((n, t) for n, t in zip(node.outputs, results, strict=False) if n)

    def _value(self, name: str) -> Tensor | None:
        if not name:
            return None
        return self.constants[name] if name in self.constants else self.values[name]


def translate(file: OnnxFile, examples: Sequence[Tensor]) -> OnnxNetwork:
    """The module of ``file`` for inputs like ``examples``.

    Raises Incomplete, with all of them, for operators that cannot be compiled, UnsupportedError for
    a form of one, ModelError for a graph that is not what ONNX says.
    """
    nodes = _nodes(file)
    _refuse_unknown(file, nodes)
    constants = {name: torch.from_numpy(np.array(v)) for name, v in file.constants.items()}
    names = [i.name for i in file.inputs]
    network = _of_inputs(names)(names, file.outputs, constants)
    made = _Translation(network, constants, dict(zip(names, examples, strict=True)))
    for node in nodes:
        known = [constants[n].numpy() if n in constants else None for n in node.inputs]
        made.add(
            Node(
                node.name,
                node.operator,
                node.domain,
                node.opset,
                node.attributes,
                known,
                node.inputs,
                node.outputs,
            )
        )
    for name in file.outputs:
        if name not in made.values and name not in made.constants:
            for node in nodes:
                if name in node.outputs:
                    which = f"its output {name!r} (number {node.outputs.index(name) + 1})"
                    raise node.fail(f"{which} cannot be compiled, only those before it")
            raise ModelError(f"{file.path}: its output {name!r} is computed by nothing")
    return network.eval()


def _nodes(file: OnnxFile) -> list[Node]:
    onnx, opsets = load_onnx(file.path), file.opsets
    found = []
    for index, proto in enumerate(file.proto.graph.node):
        domain = "" if proto.domain == "ai.onnx" else proto.domain
        first = next((o for o in proto.output if o), str(index))
        found.append(
            Node(
                proto.name or f"{proto.op_type}_{first}",
                proto.op_type,
                domain,
                opsets.get(domain, 1),
                {a.name: _attribute(onnx, a) for a in proto.attribute},
                (),
                tuple(proto.input),
                tuple(proto.output),
            )
        )
    return found


def _attribute(onnx: Any, attribute: Any) -> Any:
    value = onnx.helper.get_attribute_value(attribute)
    return plain(onnx.numpy_helper.to_array(value)) if attribute.HasField("t") else value


def _refuse_unknown(file: OnnxFile, nodes: Sequence[Node]) -> None:
    unknown = [n for n in nodes if operators.find(n.domain, n.operator) is None]
    if not unknown:
        return
    problems = [
        Problem(operators.why_not(n.domain, n.operator), f"ONNX {n.operator}", n.name)
        for n in unknown
    ]
    raise Incomplete(f"{file.path}: {unknown[0].title}: {problems[0].why}", problems, None)


def _identifier(name: str) -> str:
    """A name as PyTorch can have it: "/layer1/0/conv/Conv" is "layer1_0_conv_Conv"."""
    text = re.sub(r"\W+", "_", name, flags=re.ASCII).strip("_") or "x"
    return f"n{text}" if text[0].isdigit() or keyword.iskeyword(text) else text


def _unique(name: str, taken: set[str]) -> str:
    count, found = 1, name
    while found in taken:
        count += 1
        found = f"{name}_{count}"
    return found
