"""One kernel call of a network as data: all that its time depends on, without weights."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from bnn_compiler.kernels.layout import Layout
from bnn_compiler.kernels.task import PlainTask, Task
from bnn_compiler.ops.general import Program
from bnn_compiler.plan.plan import Plan
from bnn_compiler.plan.program import Buffer

#: Plain operators that leave every channel where it is.
_SAME_CHANNELS = (
    "map", "bytes", "max_pool2d", "avg_pool2d", "global_mean", "pad", "resize2d", "bits_max_pool2d"
)  # fmt: skip

#: Steps of a general program that compute nothing of their own.
_SILENT = ("number", "reshape", "copy", "load")


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

    @property
    def what(self) -> str:
        """The task in words, with the shape of its first result."""
        if isinstance(self.task, Task):
            return str(self.task)
        if self.op == "general":
            shapes, lines = self.task.parameters
            program = Program.parse(lines)
            steps = [s.op for s in program.steps if s.op not in _SILENT]
            size = "x".join(map(str, program.shape(shapes)))
            return f"{' '.join(steps or [program.steps[-1].op])} @{size}"
        # What leaves in the framework's layout has ours where it is read.
        n, h, w, c = (self.reads if self.op == "to_nchw" else self.writes)[0].shape
        batch = f"{n}x" if n > 1 else ""
        return f"{self.op} {c} @{batch}{h}x{w}"

    def whole(self) -> "Kernel":
        """The same on whole words and vectors, as ``Task.whole``: equal ones take the same time."""
        task, (first, *rest) = self.task, self.reads
        if isinstance(task, Task):
            filled = task.whole()
            # Of a float sum every channel that it reads is one more step.
            return self if filled is task else self._filled(filled, filled.work.x, rest)
        channels = {t.shape[3] for t in (*self.reads, *self.writes)}
        if task.op in _SAME_CHANNELS and len(channels) == 1:
            return self._filled(task.whole(), first.whole(), rest)
        return self

    def of_batch(self, count: int) -> "Kernel":
        """The same for ``count`` images; not of a general program, which holds all its shapes."""
        reads, writes = (tuple(t.of_batch(count) for t in ts) for ts in (self.reads, self.writes))
        return replace(self, task=self.task.of_batch(count), reads=reads, writes=writes)

    def _filled(self, task: Task | PlainTask, first: Layout, rest: Sequence[Layout]) -> "Kernel":
        reads = (first, *(t.whole() for t in rest))
        return replace(self, task=task, reads=reads, writes=tuple(t.whole() for t in self.writes))

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
