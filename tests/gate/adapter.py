"""The way from a model to its kernels: all that the gate knows about the compiler's stages."""

import hashlib
from collections.abc import Callable
from dataclasses import asdict, dataclass

import torch
import tvm_ffi
from torch import nn
from tvm import tirx

from bnn_compiler import target as targets
from bnn_compiler.cost.pick import Schedules
from bnn_compiler.network import Network
from bnn_compiler.options import Options as Chosen
from bnn_compiler.plan import plan, realize


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
    network = Network.of(model, (x,))

    def fused(options: Options) -> Callable[[str], Lowered]:
        graph = network.fused(Chosen.of(**asdict(options)))

        def lowered(target: str) -> Lowered:
            schedules = Schedules.load(targets.load(target), cpu="znver4")
            program, functions = realize.realize(plan.plan(graph), schedules, "net")
            kernels = tuple((step.name, functions[step.kernel]) for step in program.steps)
            return Lowered(kernels, program.weights, program.workspace)

        return lowered

    return fused


def digest(kernel: tirx.PrimFunc) -> str:
    """10 hexadecimal digits of a kernel, whatever it and its variables are called."""
    nameless = kernel.without_attr("global_symbol")
    code = tvm_ffi.structural_hash(nameless, map_free_vars=True) % 2**64
    return hashlib.sha256(str(code).encode()).hexdigest()[:10]
