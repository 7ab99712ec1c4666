"""What a network would become on a target, without compiling it."""

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import tvm

from bnn_compiler import target as targets
from bnn_compiler.cost.pick import Schedules
from bnn_compiler.errors import ModelError, ScheduleError, UnsupportedError
from bnn_compiler.frontend.incomplete import Incomplete, Problem
from bnn_compiler.kernels.task import Task
from bnn_compiler.latency.kernel import Kernel
from bnn_compiler.latency.model import LatencyModel
from bnn_compiler.network import Network, fused, uncalibrated
from bnn_compiler.ops.storage import Storage
from bnn_compiler.options import Options, check_int8
from bnn_compiler.passes.left_in_float import left_in_float
from bnn_compiler.plan import plan
from bnn_compiler.quantization import Choices
from bnn_compiler.target import Target


@dataclass(frozen=True)
class Line:
    """A kernel of a ``layer``: its ``kind`` of arithmetic, the ``family`` it is of, ``what`` it
    computes, and its predicted ``seconds``, None where nothing predicts them.
    """

    layer: str
    kind: str
    family: str
    what: str
    seconds: float | None


@dataclass(frozen=True)
class Preview:
    """The kernels of a network on ``target``, and why it cannot be compiled.

    With ``problems``, ``lines`` are those of the rest of the network, as far as it can be seen.
    ``about`` says where the seconds come from, or why there are none, ``note`` what was frozen to
    import the network, and which layers with weights of signs run in float, "" for nothing;
    ``rest`` how layers that are not binary were chosen, if they were.
    """

    target: str
    lines: tuple[Line, ...]
    problems: tuple[Problem, ...]
    about: str
    note: str = ""
    rest: Choices | None = None

    @property
    def compiles(self) -> bool:
        """Whether nothing stands in the way."""
        return not self.problems

    @property
    def seconds(self) -> float | None:
        """Of all lines; None where nothing predicts them."""
        known = [line.seconds for line in self.lines if line.seconds is not None]
        return sum(known) if self.lines and len(known) == len(self.lines) else None

    def as_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return {
            "target": self.target,
            "compiles": self.compiles,
            "layers": [asdict(line) for line in self.lines],
            "problems": [asdict(problem) for problem in self.problems],
            "seconds": self.seconds,
            "about": self.about,
            "note": self.note,
            "rest": None if self.rest is None else self.rest.as_dict(),
        }


def preview(
    model: Any,
    example_inputs: Sequence[Any] | None,
    *,
    checkpoint: str | Path | None = None,
    target: str | Path = "native",
    schedules: str | Path | None = None,
    options: Options,
    float_layers: Collection[str] | None = None,
    batch: int | None = None,
) -> Preview:
    """Everything of ``compile`` that can fail because of the network, and no kernel.

    Given ``float_layers``, all others that can are int8, with ranges that are made up. ``batch`` is
    another batch size than the inputs'.

    Raises InputError, TargetError or ScheduleError for what else is given.
    """
    wanted = targets.load(target)
    if float_layers is not None:
        check_int8(wanted)
    known = Schedules.load(wanted, Path(schedules) if schedules else None)
    module, problems, note = _imported(model, example_inputs, checkpoint, batch)
    kernels: tuple[Kernel, ...] = ()
    notes: tuple[str, ...] = ()
    if module is not None:
        try:
            if float_layers is not None:
                options = uncalibrated(module, options, float_layers)
            graph = fused(module, options.on(wanted.hardware.kind))
            note = "\n".join(filter(None, [note, *left_in_float(graph)]))
            planned = plan.plan(graph)
            notes = tuple(call.note for call in planned.calls)
            kernels = Kernel.of_plan(planned)
        except UnsupportedError as e:
            problems = (*problems, Problem(str(e)))
    seconds, about = _seconds(kernels, wanted, schedules)
    lines = tuple(_line(k, n, s, known) for k, n, s in zip(kernels, notes, seconds, strict=True))
    return Preview(wanted.name, lines, problems, about, note)


def _imported(
    model: Any, inputs: Sequence[Any] | None, checkpoint: str | Path | None, batch: int | None
) -> tuple[tvm.IRModule | None, tuple[Problem, ...], str]:
    try:
        imported = Network.of_batch(model, inputs, batch, checkpoint=checkpoint).imported
        return imported.module, (), imported.note
    except Incomplete as e:
        return e.rest, e.problems, ""
    except (UnsupportedError, ModelError) as e:
        return None, (Problem(str(e)),), ""


def _seconds(
    kernels: Sequence[Kernel], target: Target, schedules: str | Path | None
) -> tuple[list[float | None], str]:
    nothing: list[float | None] = [None] * len(kernels)
    if not kernels:
        return nothing, "no kernel to predict the time of"
    try:
        model = LatencyModel.load(target, schedules)
        return [row.seconds for row in model.explain(kernels)], model.about.text
    except ScheduleError as e:
        return nothing, str(e)


def _line(kernel: Kernel, note: str, seconds: float | None, known: Schedules) -> Line:
    task = kernel.task
    if isinstance(task, Task):
        kind, _, what = str(task).partition(" ")
        what = ", ".join(filter(None, [what, note]))
        return Line(kernel.name, kind, known.pick(task).point.family, what, seconds)
    bits = all(layout.storage is Storage.BITS for layout in kernel.reads)
    kind = "binary" if kernel.op == "matmul" else "bits" if bits else "float"
    if kernel.op == "image_bytes":
        kind = "int8"
    what = kernel.what.removeprefix(f"{kernel.op} ")
    return Line(kernel.name, kind, kernel.op, what, seconds)
