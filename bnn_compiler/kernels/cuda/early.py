"""What a kernel may read before the kernel ahead of it has ended: constants, and nothing else.

On sm_90 and later kernels start early and wait in bnn_begin (device.cuh). A parameter that is
__restrict__ and never written is constant to nvcc: it may be read ahead of bnn_begin, and comes by
ld.global.nc, a cache that nobody updates while a kernel runs. That is right for weights, and wrong
for what the kernel ahead is still writing.
"""

import math
import re
from collections.abc import Iterable, Mapping

import numpy as np
import tvm_ffi
from tvm import tirx

from bnn_compiler.kernels.cuda.device_code import Launch
from bnn_compiler.ops.rounding import ceil_div

#: Attribute of a PrimFunc: which parameters are the same in every run of a network.
_CONSTANTS = "bnn.constants"
#: Bytes of a line of L2.
_LINE = 128
_KERNEL = re.compile(r"(?P<name>\w+)_kernel\((?P<parameters>[^()]*)\)(?P<rest>;| \{\n)")
_PARAMETER = re.compile(r"__restrict__ p(\d+)")


def with_constants(function: tirx.PrimFunc, constants: Iterable[int]) -> tirx.PrimFunc:
    """``function`` with these parameters, by index, known to be there before the first run."""
    return function.with_attr(_CONSTANTS, sorted(constants))


def constants(function: tirx.PrimFunc) -> list[int]:
    """Those parameters; none where nobody said."""
    return [int(i) for i in (function.attrs or {}).get(_CONSTANTS, [])]


def made(function: tirx.PrimFunc) -> set[int]:
    """Parameters that other kernels write: all but constants and what this one writes."""
    return set(range(len(function.params))) - {*constants(function), *_written(function)}


def started_early(
    text: str, functions: Mapping[str, tirx.PrimFunc], launches: Mapping[str, Launch]
) -> str:
    """CUDA source whose kernels fetch constants into L2 first, a line a thread.

    float *__restrict__ p0_ptr  ->  float *BNN_MADE p0_ptr, see device.cuh, if it is no constant.
    """

    def rewrite(kernel: re.Match[str]) -> str:
        symbol = kernel["name"]
        function, launch = functions[symbol], launches[symbol]
        fixed = constants(function)

        def parameter(found: re.Match[str]) -> str:
            # What is written too: nvcc sees that it is not what is read, which then is constant.
            return found[0] if int(found[1]) in fixed else f"BNN_MADE p{found[1]}"

        signature = _PARAMETER.sub(parameter, kernel["parameters"])
        ahead = "" if kernel["rest"] == ";" else _fetch(function, launch, signature)
        return f"{symbol}_kernel({signature}){kernel['rest']}{ahead}"

    return _KERNEL.sub(rewrite, text)


def _fetch(function: tirx.PrimFunc, launch: Launch, signature: str) -> str:
    """The calls that do it. Of more lines than there are threads the first."""
    calls, most = [], 0
    for i in constants(function):
        # A kernel may not need all.
        if i in launch.order:
            ty, number = function.params[i].ty, launch.order.index(i)
            name = signature.split(",")[number].split()[-1]
            size = np.dtype(str(ty.dtype)).itemsize * math.prod(int(n) for n in ty.shape)
            lines = ceil_div(size, _LINE)
            most = max(most, lines)
            calls.append(f"    BNN_FETCH({launch.symbol}, {number}, {name}, line, {lines});\n")
    if not calls:
        return ""
    x, y, z = launch.block
    line = f"uint line = bnn_thread({x}, {y * z}, {launch.grid[0]})"
    return f"  if ({line}; line < {most}) {{\n{''.join(calls)}  }}\n"


def _written(function: tirx.PrimFunc) -> set[int]:
    """Parameters that the kernel writes."""
    found: set[int] = set()

    def visit(store: tirx.BufferStore, mutator: tvm_ffi.StructuralMutator) -> tirx.Stmt:
        found.update(i for i, p in enumerate(function.params) if store.buffer.same_as(p))
        return mutator.default_mutate(store)

    tvm_ffi.structural_mutate(function, [(tirx.BufferStore, visit)])
    return found
