"""The way from a model to its kernels: all that the gate knows about the compiler's stages."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import torch
import tvm_ffi
from torch import nn
from tvm import tirx

from bnn_compiler import target as targets
from bnn_compiler.compiler import trace_model
from bnn_compiler.deploy import lower
from bnn_compiler.frontend import importer
from bnn_compiler.passes import pipeline
from bnn_compiler.passes.byte_input import normalization_of
from bnn_compiler.passes.graph import Graph
from bnn_compiler.tune.schedules import Schedules


@dataclass(frozen=True)
class Options:
    """What `bnn_compiler.compile` is asked for; named as it names them."""

    input_dtype: str = "float32"
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    allow_reorder: bool = False


@dataclass(frozen=True)
class Lowered:
    """What goes to code generation: (step's name, its kernel) in order, and the memory."""

    kernels: tuple[tuple[str, tirx.PrimFunc], ...]
    weights: bytes
    workspace: int


def traced(model: nn.Module, x: torch.Tensor) -> Callable[[Options], Callable[[str], Lowered]]:
    """options -> target's name -> the network lowered for it; each stage is run once."""
    graph, _ = trace_model(model, (x,))

    def fused(options: Options) -> Callable[[str], Lowered]:
        module = pipeline.run(
            importer.to_relax(graph),
            byte_input=normalization_of(options.input_dtype, options.mean, options.std),
            allow_reorder=options.allow_reorder,
        )

        def lowered(target: str) -> Lowered:
            schedules = Schedules.load(targets.load(target))
            program, functions = lower.lower(Graph.of(module), schedules, "net")
            kernels = tuple((step.name, functions[step.kernel]) for step in program.steps)
            return Lowered(kernels, program.weights, program.workspace)

        return lowered

    return fused


def digest(kernel: tirx.PrimFunc) -> str:
    """10 hexadecimal digits of a kernel, whatever it and its variables are called."""
    nameless = kernel.without_attr("global_symbol")
    code = tvm_ffi.structural_hash(nameless, map_free_vars=True) % 2**64
    return hashlib.sha256(str(code).encode()).hexdigest()[:10]
