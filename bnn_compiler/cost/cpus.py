"""Which CPU times are of: LLVM's name of its design, "znver4" or "cortex-a72"; "" if unknown."""

from functools import cache

from tvm.target import codegen

from bnn_compiler.runtime import cpu
from bnn_compiler.target import Gpu, Target

#: Designs of the same core, by LLVM's name of the other.
_SAME_CORE = {"emeraldrapids": "sapphirerapids"}


@cache
def here() -> str:
    """The CPU of this machine."""
    name = str(codegen.llvm_get_system_cpu())
    return _SAME_CORE.get(name, name)


def of(target: Target) -> str:
    """The one that runs a target's code, as far as that is known here.

    A target of one core names it; code that this CPU can run is for this CPU.
    """
    known = board(target)
    if known or isinstance(target.hardware, Gpu) or target.arch != cpu.machine():
        return known
    return here() if set(target.features) <= cpu.features() else ""


def board(target: Target) -> str:
    """That of a board: the core, of a target that is scheduled for one."""
    return str(target.tvm["mcpu"]) if target.cpu_part else ""
