"""Where the networks of a search are compiled and timed: here, on a board, or nowhere."""

import platform
import statistics
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from bnn_compiler.commands.common import random_inputs

if TYPE_CHECKING:
    from torch import nn

    from bnn_compiler.search.network import Task

#: Runs of a compiled network that are timed, behind some that are not.
_RUNS, _WARM = 200, 20


@dataclass(frozen=True)
class Place:
    """Networks of ``task`` are timed on the board at ``device``, or here where their code runs.

    ``secret`` is the file that the board's server was given.
    """

    task: "Task"
    device: str | None = None
    secret: Path | None = None

    def check(self) -> None:
        """Raise DeviceError if there is no board now, BuildError if nothing can link for it."""
        if self.device is not None:
            from bnn_compiler import target
            from bnn_compiler.device import bench

            bench.boards(self.device, target.load(self.task.target).arch, self.secret)

    @cached_property
    def here(self) -> bool:
        """Whether the target's code runs on this machine."""
        from bnn_compiler import target
        from bnn_compiler.runtime import cpu

        wanted = target.load(self.task.target)
        return wanted.arch == platform.machine() and set(wanted.features) <= cpu.features()

    @property
    def measures(self) -> bool:
        """Whether anything is timed."""
        return self.device is not None or self.here

    @property
    def name(self) -> str:
        """Of what times them: this CPU, or the board's key; empty where nothing does."""
        if self.device is not None:
            from bnn_compiler.device.address import Address

            return f"board {Address.parse(self.device).key}"
        from bnn_compiler.runtime import cpu

        return cpu.name() if self.here else ""

    def measure(self, plan: Mapping[str, int]) -> float:
        """Measured seconds of a plan's network. Raises what compiling raises, and DeviceError."""
        with tempfile.TemporaryDirectory(prefix="bnnc-search-") as folder:
            output = Path(folder) / "plan.bnn"
            seconds = self.compiled(self.task.space.crop(plan), output, check=False)
        assert seconds is not None
        return seconds

    def compiled(self, network: "nn.Module", output: Path, *, check: bool = True) -> float | None:
        """Compile; the median seconds of a run, one thread, or None where nothing is timed."""
        from bnn_compiler import compiler

        task = self.task
        artifact = compiler.compile(
            network.eval(), task.inputs, target=task.target, output=output, check=check
        )
        try:
            if self.device is not None:
                from bnn_compiler.device.bench import bench

                found = bench(output, self.device, repeat=_RUNS, secret=self.secret)
                return 1e-3 * found["median_ms"]
            if not self.here:
                return None
            artifact.set_threads(1)
            inputs, times = random_inputs(artifact), []
            for _ in range(_RUNS + _WARM):
                start = time.perf_counter()
                artifact.run(*inputs)
                times.append(time.perf_counter() - start)
            return statistics.median(times[_WARM:])
        finally:
            artifact.close()
