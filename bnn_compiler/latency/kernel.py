"""One kernel call of a network as data: all that its time depends on, without weights."""

from dataclasses import dataclass

from bnn_compiler.kernels.layout import Layout
from bnn_compiler.kernels.task import PlainTask, Task
from bnn_compiler.plan.plan import Plan
from bnn_compiler.plan.program import Buffer


@dataclass(frozen=True)
class Kernel:
    """What is computed (``op``, ``task``), for which layer (``name``), on which tensors.

    ``reads`` are the layouts of the data, then of the tensors that the epilogue reads, in order;
    ``writes`` those of the results.
    """

    name: str
    op: str
    task: Task | PlainTask
    reads: tuple[Layout, ...]
    writes: tuple[Layout, ...]

    @staticmethod
    def of_plan(plan: Plan) -> tuple["Kernel", ...]:
        """The calls of a compiled network's plan, in order."""
        return tuple(
            Kernel(
                call.name,
                call.op,
                call.task,
                (
                    *(b.layout for b in call.data),
                    *(b.layout for b in call.operands if isinstance(b, Buffer)),
                ),
                tuple(b.layout for b in call.writes),
            )
            for call in plan.calls
        )
