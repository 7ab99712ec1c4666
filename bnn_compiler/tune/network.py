"""The kernels of a network, and tuning all of them."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import platformdirs

from bnn_compiler import families
from bnn_compiler import target as targets
from bnn_compiler.cost import records
from bnn_compiler.device.measure import Here, Machine
from bnn_compiler.errors import InputError, TargetError
from bnn_compiler.kernels.task import Task
from bnn_compiler.network import Network
from bnn_compiler.options import Options
from bnn_compiler.passes.byte_input import Normalization, normalization_of
from bnn_compiler.plan import plan
from bnn_compiler.runtime import cpu
from bnn_compiler.tune import tuner
from bnn_compiler.tune.journal import Journal

if TYPE_CHECKING:
    from bnn_compiler.tune import kit


def extract(
    model: Any,
    example_inputs: Sequence[Any] | None,
    target: targets.Target,
    *,
    checkpoint: str | Path | None = None,
    byte_input: Normalization | None = None,
    allow_reorder: bool = False,
) -> dict[Task, int]:
    """The distinct kernels of a network that have several schedules, and how often each occurs.

    Raises what ``bnn_compiler.compile`` raises for the same network.
    """
    network = Network.of(model, example_inputs, checkpoint=checkpoint)
    options = Options(normalization=byte_input, allow_reorder=allow_reorder)
    tasks = plan.plan(network.fused(options)).tasks
    return {
        task: times
        for task, times in tasks.items()
        if isinstance(task, Task) and len(families.space(task, target.hardware)) > 1
    }


def tune_network(
    model: Any,
    example_inputs: Sequence[Any] | None = None,
    *,
    target: str | Path = "native",
    device: str | None = None,
    secret: str | Path | None = None,
    checkpoint: str | Path | None = None,
    input_dtype: str = "float32",
    mean: Sequence[float] = (0.0,),
    std: Sequence[float] = (1.0,),
    allow_reorder: bool = False,
    schedules: str | Path | None = None,
    journal: str | Path | None = None,
    trials: int = 48,
    minutes: float | None = None,
    tell: Callable[[tuner.Progress], None] = lambda state: None,
) -> tuner.Report:
    """Tune the kernels of a network on this machine, or on the boards at ``device``.

    ``device`` is tracker://HOST:PORT/KEY (every board of that key) or rpc://HOST:PORT/KEY,
    ``secret`` the file that their servers were given, if they were.
    ``schedules`` is the file of records to add to (default: the shipped one), ``journal`` the log
    of trials that a stopped search is resumed from (default: in the user's cache). The input's
    dtype, mean, std and ``allow_reorder`` are as in ``compile``. At most
    ``trials`` for each kernel and ``minutes`` in all.

    Raises InputError for a budget below 1, TargetError if this CPU cannot run the target's code,
    DeviceError if the boards cannot be used, ScheduleError if another process uses the journal,
    and what ``compile`` raises for the network.
    """
    if trials < 1 or (minutes is not None and not minutes > 0):
        raise InputError(f"trials {trials}, minutes {minutes}: give at least one trial, some time")
    chosen = targets.load(target)
    machine = _machine(chosen, device, secret)
    normalization = normalization_of(input_dtype, mean, std)
    tasks = extract(
        model,
        example_inputs,
        chosen,
        checkpoint=checkpoint,
        byte_input=normalization,
        allow_reorder=allow_reorder,
    )
    return tuner.tune(
        tasks,
        chosen,
        journal=Path(journal)
        if journal
        else default_journal(chosen, "" if machine.here else machine.name),
        schedules=Path(schedules) if schedules else records.shipped(chosen),
        trials=trials,
        seconds=None if minutes is None else 60 * minutes,
        machine=machine,
        tell=tell,
    )


def export_candidates(
    model: Any,
    example_inputs: Sequence[Any] | None = None,
    *,
    output: str | Path,
    target: str | Path,
    checkpoint: str | Path | None = None,
    input_dtype: str = "float32",
    mean: Sequence[float] = (0.0,),
    std: Sequence[float] = (1.0,),
    allow_reorder: bool = False,
    schedules: str | Path | None = None,
    trials: int = 48,
    tell: Callable[[int, int], None] = lambda built, of: None,
) -> "kit.Kit":
    """Write a kit that measures schedules of a network on a board that is not connected.

    At most ``trials`` for each kernel; the other arguments are those of ``tune_network``. Raises
    InputError for no trial, BuildError and DeviceError if the kit cannot be made, and what
    ``compile`` raises for the network.
    """
    from bnn_compiler.tune import kit

    if trials < 1:
        raise InputError(f"trials {trials}: give at least one trial")
    chosen = targets.load(target)
    # Before the network is loaded, which takes a while.
    kit.check_output(Path(output))
    normalization = normalization_of(input_dtype, mean, std)
    tasks = extract(
        model,
        example_inputs,
        chosen,
        checkpoint=checkpoint,
        byte_input=normalization,
        allow_reorder=allow_reorder,
    )
    records_file = Path(schedules) if schedules else records.shipped(chosen)
    points = tuner.points_to_try(tasks, chosen, records_file, trials)
    return kit.export(points, chosen, Path(output), tell)


def import_results(
    model: Any,
    example_inputs: Sequence[Any] | None = None,
    *,
    results: str | Path,
    target: str | Path,
    checkpoint: str | Path | None = None,
    input_dtype: str = "float32",
    mean: Sequence[float] = (0.0,),
    std: Sequence[float] = (1.0,),
    allow_reorder: bool = False,
    schedules: str | Path | None = None,
    journal: str | Path | None = None,
) -> tuner.Report:
    """Take in what a kit measured, as if it had been measured here.

    The arguments are those of ``export_candidates`` and ``tune_network``. Raises DeviceError for
    results that were damaged or belong to other candidates, ScheduleError if another process uses
    the journal, and what ``compile`` raises for the network.
    """
    from bnn_compiler.tune import kit

    chosen = targets.load(target)
    normalization = normalization_of(input_dtype, mean, std)
    tasks = extract(
        model,
        example_inputs,
        chosen,
        checkpoint=checkpoint,
        byte_input=normalization,
        allow_reorder=allow_reorder,
    )
    found = kit.load(Path(results), tasks, chosen)
    path = Path(journal) if journal else default_journal(chosen, "kit")
    with Journal(path, chosen, f"kit {found.board}") as log:
        known = set(log.trials)
        for trial in found.trials:
            if trial not in known:
                log.add(trial)
        return tuner.conclude(
            tasks, chosen, log, Path(schedules) if schedules else records.shipped(chosen)
        )


def default_journal(target: targets.Target, machine: str = "") -> Path:
    """In the user's cache: one file for each target, and for each machine that is not this one."""
    name = f"{target.name}.{machine}" if machine else target.name
    cache = Path(platformdirs.user_cache_dir("bnn_compiler"))
    return cache / f"{name.replace(' ', '-')}.trials.jsonl"


def _machine(
    target: targets.Target, device: str | None, secret: str | Path | None = None
) -> Machine:
    if device is not None:
        # TVM's RPC is imported only where it is used.
        from bnn_compiler.device.address import Address
        from bnn_compiler.device.boards import Boards
        from bnn_compiler.device.secret import Secret

        known = None if secret is None else Secret.read(secret)
        return Boards(Address.parse(device), target.arch, target.link, known)
    if target.arch != cpu.machine():
        raise TargetError(
            f"{target.name} is for {target.arch}, this machine is {cpu.machine()}: measure on a"
            " board with --device, or carry a kit there (--export-candidates)"
        )
    if missing := set(target.features) - cpu.features():
        raise TargetError(
            f"{target.name} cannot be tuned here: this CPU lacks {', '.join(sorted(missing))}"
        )
    return Here()
