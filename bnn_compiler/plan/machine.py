"""What differs between kinds of machines when tasks become kernels."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from tvm import tirx

from bnn_compiler.kernels.cpu import codegen as cpu_codegen
from bnn_compiler.kernels.cpu import plain as cpu_plain
from bnn_compiler.kernels.cuda import codegen as cuda_codegen
from bnn_compiler.kernels.cuda import early
from bnn_compiler.kernels.cuda import plain as cuda_plain
from bnn_compiler.kernels.task import PlainTask


@dataclass(frozen=True)
class Machine:
    """``plain`` makes a plain task's kernel; ``iterations`` are what can run at the same time.

    An anchor's kernel stores a word of bits in ``per_word`` parts. ``with_constants`` tells it
    which of its parameters no kernel writes.
    """

    plain: Callable[[PlainTask], tirx.PrimFunc]
    iterations: Callable[[tirx.PrimFunc], int]
    per_word: int
    with_constants: Callable[[tirx.PrimFunc, Iterable[int]], tirx.PrimFunc]


#: By [target] kind.
MACHINES = {
    "llvm": Machine(cpu_plain.function, cpu_codegen.parallel_extent, 2, lambda f, _: f),
    "cuda": Machine(cuda_plain.function, cuda_codegen.blocks, 1, early.with_constants),
}
