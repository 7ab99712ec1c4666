"""Plain TVM: the torch model through TVM's own importer and default CPU pipeline.

It is what bnn_compiler is built on, without bnn_compiler. Signs are float32 tensors, convolutions
are float32, and TVM 0.27 has no CPU schedules of its own: operators are fused, loops are left as
they are, for LLVM to vectorise. It is compiled for this CPU, whatever ours is compiled for.
"""

import numpy as np
import torch
import tvm
from torch import nn
from tvm import relax
from tvm.relax.frontend.torch import from_exported_program

from benchmarks.peer_weights import Floats
from bnn_compiler import target as targets


class TvmPeer:
    """A model in TVM's virtual machine; its unscheduled loops run on one thread."""

    def __init__(self, model: nn.Module, shape: tuple[int, ...]) -> None:
        module = from_exported_program(torch.export.export(model, (torch.zeros(shape),)))
        device = tvm.target.Target({**targets.native().tvm, "num-cores": 1})
        self._machine = relax.VirtualMachine(tvm.compile(module, device), tvm.cpu())

    def set_input(self, x: Floats) -> None:
        """Use a copy of `x` in the inferences from now on."""
        self._input = tvm.runtime.tensor(np.ascontiguousarray(x))

    def infer(self) -> object:
        """One inference on the input set before."""
        return self._machine["main"](self._input)

    def run(self, x: Floats) -> Floats:
        """The output for `x`, as a new array."""
        self.set_input(x)
        output: Floats = self.infer()[0].numpy()  # type: ignore[index]
        return output
