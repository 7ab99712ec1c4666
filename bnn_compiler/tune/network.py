"""The kernels of a network, and tuning all of them."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import platformdirs

from bnn_compiler import target as targets
from bnn_compiler.deploy import lower
from bnn_compiler.errors import InputError, TargetError
from bnn_compiler.frontend import importer
from bnn_compiler.kernels.task import Task
from bnn_compiler.passes import pipeline
from bnn_compiler.passes.byte_input import Normalization, normalization_of
from bnn_compiler.passes.graph import Graph
from bnn_compiler.runtime import cpu
from bnn_compiler.tune import records, tuner
from bnn_compiler.tune.schedules import Schedules


def extract(
    model: Any,
    example_inputs: Sequence[Any] | None,
    target: targets.Target,
    *,
    checkpoint: str | Path | None = None,
    byte_input: Normalization | None = None,
) -> dict[Task, int]:
    """The distinct kernels of a network that have a schedule, and how often each occurs.

    Raises what ``bnn_compiler.compile`` raises for the same network.
    """
    from bnn_compiler.compiler import trace_model

    traced, _ = trace_model(model, example_inputs, checkpoint=checkpoint)
    # A zero weight has no bearing on speed.
    module = pipeline.run(importer.to_relax(traced), zero_weight="+1", byte_input=byte_input)
    asked = Schedules(target)
    lower.lower(Graph.of(module), asked, "net")
    return asked.tasks


def tune_network(
    model: Any,
    example_inputs: Sequence[Any] | None = None,
    *,
    target: str | Path = "native",
    checkpoint: str | Path | None = None,
    input_dtype: str = "float32",
    mean: Sequence[float] = (0.0,),
    std: Sequence[float] = (1.0,),
    schedules: str | Path | None = None,
    journal: str | Path | None = None,
    trials: int = 48,
    minutes: float | None = None,
    tell: Callable[[tuner.Progress], None] = lambda state: None,
) -> tuner.Report:
    """Tune the kernels of a network on this machine.

    ``schedules`` is the file of records to add to (default: the shipped one), ``journal`` the log
    of trials that a stopped search is resumed from (default: in the user's cache). The input's
    dtype, mean and std are as in ``compile``. At most
    ``trials`` for each kernel and ``minutes`` in all.

    Raises InputError for a budget below 1, TargetError if this CPU cannot run the target's code,
    ScheduleError if another process uses the journal, and what ``compile`` raises for the network.
    """
    if trials < 1 or (minutes is not None and minutes <= 0):
        raise InputError(f"trials {trials}, minutes {minutes}: give at least one trial, some time")
    device = targets.load(target)
    if device.arch != cpu.machine():
        raise TargetError(f"{device.name} is for {device.arch}, this machine is {cpu.machine()}")
    if missing := set(device.features) - cpu.features():
        raise TargetError(
            f"{device.name} cannot be tuned here: this CPU lacks {', '.join(sorted(missing))}"
        )
    normalization = normalization_of(input_dtype, mean, std)
    tasks = extract(model, example_inputs, device, checkpoint=checkpoint, byte_input=normalization)
    cache = Path(platformdirs.user_cache_dir("bnn_compiler"))
    return tuner.tune(
        tasks,
        device,
        journal=Path(journal) if journal else cache / f"{device.name}.trials.jsonl",
        schedules=Path(schedules) if schedules else records.shipped(device),
        trials=trials,
        seconds=None if minutes is None else 60 * minutes,
        tell=tell,
    )
