"""The kernels of plain tasks on a GPU: the CPU's computations, an element a thread."""

from tvm import tirx

from bnn_compiler.errors import UnsupportedError
from bnn_compiler.kernels.cpu.plain import STAGES, WORDS
from bnn_compiler.kernels.cuda import general, schedule
from bnn_compiler.kernels.cuda.words import with_words
from bnn_compiler.kernels.task import PlainTask


def function(task: PlainTask) -> tirx.PrimFunc:
    """The scheduled kernel: inputs, constants after the first, epilogue's operands, outputs."""
    if task.op == "general":
        return general.function(task)
    if task.op == "matmul":
        raise UnsupportedError(
            "no CUDA kernel multiplies two computed tensors of signs; compile this network for a"
            " CPU"
        )
    if task.op in WORDS:
        return schedule.words(WORDS[task.op](task))
    stages = STAGES[task.op](task)
    return schedule.elements(with_words(stages, task.epilogue, task.tensors))
