"""Where the networks of a search are compiled and timed: here, its GPU included, on a board, or
nowhere."""

import platform
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from bnn_compiler.errors import TargetError

if TYPE_CHECKING:
    from torch import nn

    from bnn_compiler.commands.gpu_place import GpuPlace
    from bnn_compiler.runtime import Artifact
    from bnn_compiler.search.network import Task

#: Runs of a compiled network that are timed on a board.
_RUNS = 200
#: Artifacts take turns here for at least so many rounds and seconds; the least of so many runs
#: counts.
_ROUNDS, _SECONDS, _IN_A_ROUND = 30, 1.0, 3


@dataclass(frozen=True)
class Place:
    """Networks of ``task`` are timed on the board at ``device``, or here where their code runs.

    ``secret`` is the file that the board's server was given.
    """

    task: "Task"
    device: str | None = None
    secret: Path | None = None

    def check(self) -> None:
        """Raise DeviceError if there is no board now, BuildError if nothing can link for it, and
        TargetError for a board that is to be a GPU.
        """
        if self.device is None:
            # What a GPU that is here needs, nvcc, is asked for now as well.
            _ = self.here
            return
        from bnn_compiler import target
        from bnn_compiler.device import bench

        if self.is_gpu:
            raise TargetError(
                f"target {self.task.target} is a GPU: it is timed where it is, without --device"
            )
        bench.boards(self.device, target.load(self.task.target).arch, self.secret)

    @cached_property
    def is_gpu(self) -> bool:
        """Whether the target is one."""
        from bnn_compiler import target

        return target.load(self.task.target).hardware.kind == "cuda"

    @cached_property
    def gpu(self) -> "GpuPlace | None":
        """This machine's GPU, if the target is one and it works."""
        from bnn_compiler.commands import gpu_place

        return gpu_place.here(self.task.target) if self.is_gpu else None

    @cached_property
    def here(self) -> bool:
        """Whether the target's code runs on this machine."""
        from bnn_compiler import target
        from bnn_compiler.runtime import cpu

        if self.is_gpu:
            return self.gpu is not None
        wanted = target.load(self.task.target)
        return wanted.arch == platform.machine() and set(wanted.features) <= cpu.features()

    @property
    def measures(self) -> bool:
        """Whether anything is timed."""
        return self.device is not None or self.here

    @property
    def name(self) -> str:
        """Of what times them: this CPU or GPU, or the board's key; empty where nothing does."""
        if self.device is not None:
            from bnn_compiler.device.address import Address

            return f"board {Address.parse(self.device).key}"
        from bnn_compiler.runtime import cpu

        if self.gpu is not None:
            return self.gpu.name
        return cpu.name() if self.here else ""

    @property
    def hint(self) -> str:
        """What would time them where nothing does."""
        if self.is_gpu:
            return "a search where such a GPU and nvcc are times it"
        return "--device times it"

    def measure(self, plan: Mapping[str, int]) -> float:
        """Measured seconds of a plan's network. Raises what compiling raises, and DeviceError."""
        network = self.task.space.crop(plan)
        if self.gpu is not None:
            (seconds,) = self.gpu.seconds([network], self.task.inputs)
            return seconds
        with (
            tempfile.TemporaryDirectory(prefix="bnnc-search-") as folder,
            self.compile(network, Path(folder) / "plan.bnn", check=False) as artifact,
        ):
            (seconds,) = self.seconds([artifact], [network])
        return seconds

    def compile(self, network: "nn.Module", output: Path, *, check: bool) -> "Artifact":
        """For one thread. Raises what compiling raises."""
        from bnn_compiler import compiler

        task = self.task
        artifact = compiler.compile(
            network.eval(), task.inputs, target=task.target, output=output, check=check
        )
        if self.here and not self.is_gpu:
            artifact.set_threads(1)
        return artifact

    def seconds(
        self, artifacts: "Sequence[Artifact]", networks: "Sequence[nn.Module]"
    ) -> list[float]:
        """Of a run of each: in turns here, one after the other on a board. Raises DeviceError.

        ``networks`` are what they were compiled from.
        """
        if self.gpu is not None:
            return self.gpu.seconds(networks, self.task.inputs)
        if self.device is None:
            return in_turns(artifacts)
        from bnn_compiler.device.bench import bench

        return [
            1e-3 * bench(a.path, self.device, repeat=_RUNS, secret=self.secret)["median_ms"]
            for a in artifacts
        ]


def in_turns(artifacts: "Sequence[Artifact]") -> list[float]:
    """Seconds of a run of each, one thread, as the latency model means them.

    In every round each artifact runs a few times behind the others, and the least counts; the
    median of the rounds is returned.
    """
    from bnn_compiler.latency.timing import Subject, undisturbed

    subjects = [Subject(a) for a in artifacts]
    rounds: list[list[float]] = [[] for _ in subjects]
    order = list(range(len(subjects)))
    with undisturbed():
        end = time.perf_counter() + _SECONDS * len(subjects)
        while len(rounds[0]) < _ROUNDS or time.perf_counter() < end:
            for i in order:
                rounds[i].append(subjects[i].fastest(_IN_A_ROUND))
            order.reverse()
    return [statistics.median(times) for times in rounds]
