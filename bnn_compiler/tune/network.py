"""The kernels of a network, and tuning all of them."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import or_
from pathlib import Path
from typing import Any

import platformdirs

from bnn_compiler import families
from bnn_compiler import target as targets
from bnn_compiler.cost import records
from bnn_compiler.device import gpu
from bnn_compiler.device.measure import Here, Machine
from bnn_compiler.errors import InputError, TargetError
from bnn_compiler.kernels.task import Task
from bnn_compiler.network import Network, uncalibrated
from bnn_compiler.options import DEFAULT, Options, check_int8
from bnn_compiler.plan import plan
from bnn_compiler.runtime import cpu
from bnn_compiler.target import Target
from bnn_compiler.tune import kit, tuner
from bnn_compiler.tune.journal import Journal
from bnn_compiler.tune.outcome import Tell, TuningReport


@dataclass(frozen=True)
class Subject:
    """What is tuned: a network, as ``compile`` takes it, for a target; records go to ``schedules``.

    ``batches`` are the batch sizes whose kernels are tuned, None for that of the inputs. Given
    ``float_layers``, all others that can are int8, and with ``also_float`` those kernels too are
    tuned that they are in float. The network is loaded when its kernels are asked for.
    """

    model: Any
    example_inputs: Sequence[Any] | None
    target: Target
    schedules: Path
    options: Options = DEFAULT
    checkpoint: str | Path | None = None
    batches: tuple[int, ...] | None = None
    float_layers: tuple[str, ...] | None = None
    also_float: bool = False

    @staticmethod
    def of(
        model: Any,
        example_inputs: Sequence[Any] | None = None,
        *,
        target: str | Path = "native",
        schedules: str | Path | None = None,
        options: Options = DEFAULT,
        checkpoint: str | Path | None = None,
        batches: Sequence[int] | None = None,
        float_layers: Sequence[str] | None = None,
        also_float: bool = False,
    ) -> "Subject":
        """Without ``schedules``, the shipped file.

        Raises TargetError, and InputError for ``float_layers`` where there is no int8.
        """
        chosen = targets.load(target)
        if float_layers is not None:
            check_int8(chosen, "auto" if also_float else "int8")
        path = Path(schedules) if schedules else records.shipped(chosen)
        sizes = tuple(batches) if batches else None
        options = options.on(chosen.hardware.kind)
        floats = None if float_layers is None else tuple(float_layers)
        return Subject(
            model, example_inputs, chosen, path, options, checkpoint, sizes, floats, also_float
        )

    def tasks(self) -> dict[Task, int]:
        """The distinct kernels that have several schedules, and how often each occurs.

        Raises what ``bnn_compiler.compile`` raises for the same network.
        """
        tasks = Counter[Any]()
        for network in self.networks():
            forms = [Counter[Any](plan.plan(network.fused(o)).tasks) for o in self.forms(network)]
            # Of a kernel of both forms the network has no more than one of them has.
            tasks.update(reduce(or_, forms))
        return {
            task: times
            for task, times in tasks.items()
            if isinstance(task, Task) and len(families.space(task, self.target.hardware)) > 1
        }

    def networks(self) -> tuple[Network, ...]:
        """One for each batch size. Raises what ``bnn_compiler.compile`` raises."""
        given, weights = (self.model, self.example_inputs), self.checkpoint
        if self.batches is None:
            return (Network.of(*given, checkpoint=weights),)
        return Network.of_batches(*given, self.batches, checkpoint=weights)

    def forms(self, network: Network) -> list[Options]:
        """What kernels of ``network`` are tuned for."""
        if self.float_layers is None:
            return [self.options]
        int8 = uncalibrated(network.imported.module, self.options, self.float_layers)
        return [int8, self.options] if self.also_float else [int8]


def tune_network(
    subject: Subject,
    *,
    device: str | None = None,
    secret: str | Path | None = None,
    journal: str | Path | None = None,
    trials: int = 48,
    minutes: float | None = None,
    tell: Tell = lambda state: None,
) -> TuningReport:
    """Tune the kernels of a network on this machine, or on the boards at ``device``.

    ``device`` is tracker://HOST:PORT/KEY (every board of that key) or rpc://HOST:PORT/KEY,
    ``secret`` the file that their servers were given, if they were. ``journal`` is the log of
    trials that a stopped search is resumed from (default: in the user's cache). At most
    ``trials`` for each kernel and ``minutes`` in all.

    Raises InputError for a budget below 1, TargetError if this CPU cannot run the target's code,
    DeviceError if the boards cannot be used, ScheduleError if another process uses the journal,
    and what ``compile`` raises for the network.
    """
    if trials < 1 or (minutes is not None and not minutes > 0):
        raise InputError(f"trials {trials}, minutes {minutes}: give at least one trial, some time")
    machine = _machine(subject.target, device, secret)
    log = default_journal(subject.target, "" if machine.here else machine.name)
    return tuner.tune(
        subject.tasks(),
        subject.target,
        journal=Path(journal) if journal else log,
        schedules=subject.schedules,
        trials=trials,
        seconds=None if minutes is None else 60 * minutes,
        machine=machine,
        tell=tell,
    )


def export_candidates(
    subject: Subject,
    output: Path,
    *,
    trials: int = 48,
    tell: Callable[[int, int], None] = lambda built, of: None,
) -> kit.Kit:
    """Write a kit that measures schedules of a network on a board that is not connected.

    At most ``trials`` for each kernel. Raises InputError for no trial, BuildError and DeviceError
    if the kit cannot be made, and what ``compile`` raises for the network.
    """
    if trials < 1:
        raise InputError(f"trials {trials}: give at least one trial")
    # Before the network is loaded, which takes a while.
    kit.check_output(output)
    points = tuner.points_to_try(subject.tasks(), subject.target, subject.schedules, trials)
    return kit.export(points, subject.target, output, tell)


def import_results(
    subject: Subject, results: Path, *, journal: str | Path | None = None
) -> TuningReport:
    """Take in what a kit measured, as if it had been measured here.

    Raises DeviceError for results that were damaged or belong to other candidates, ScheduleError
    if another process uses the journal, and what ``compile`` raises for the network.
    """
    tasks = subject.tasks()
    found = kit.load(results, tasks, subject.target)
    path = Path(journal) if journal else default_journal(subject.target, "kit")
    with Journal(path, subject.target, f"kit {found.board}") as log:
        known = set(log.trials)
        for trial in found.trials:
            if trial not in known:
                log.add(trial)
        return tuner.conclude(tasks, subject.target, log, subject.schedules)


def default_journal(target: Target, machine: str = "") -> Path:
    """In the user's cache: one file for each target, and for each machine that is not this one."""
    name = f"{target.name}.{machine}" if machine else target.name
    cache = Path(platformdirs.user_cache_dir("bnn_compiler"))
    return cache / f"{name.replace(' ', '-')}.trials.jsonl"


def _machine(target: Target, device: str | None, secret: str | Path | None = None) -> Machine:
    if target.hardware.kind == "cuda":
        if device is not None:
            raise TargetError(
                f"{target.name} is a GPU: it is measured where it is, without --device, or by a kit"
                " (--export-candidates)"
            )
        return gpu.here(target)
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
