"""Programs of a calibration as executables for another machine, and the times that they print.

One executable holds the reference program and some others, and takes turns itself: the times mean
what those of ``timing.in_turns`` do, but for the call from Python, which there is none of.
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bnn_compiler.cost.pick import Schedules
from bnn_compiler.deploy.cpu import link, turns
from bnn_compiler.deploy.cpu.trial import TrialProgram
from bnn_compiler.device.measure import Measurement
from bnn_compiler.device.measure import Plan as Measuring
from bnn_compiler.errors import DeviceError, InputError
from bnn_compiler.latency import programs, timing
from bnn_compiler.latency.timing import Times
from bnn_compiler.plan.plan import Plan
from bnn_compiler.runtime import files
from bnn_compiler.runtime.files import Files

#: What the reference program is called in C.
AHEAD = "ahead"
#: Rounds of a calibration, and seconds after which an executable ends itself.
ROUNDS, LIMIT = 8, 240
#: Times that fit what a board's server carries.
_MOST = 5000


def compiled(plan: Plan, schedules: Schedules, name: str) -> Files:
    """A program, not yet linked into an executable; nothing stays on disk.

    Raises BuildError or ArtifactError.
    """
    with tempfile.TemporaryDirectory(prefix="bnnc-") as folder:
        programs.write(plan, schedules, Path(folder) / name, name)
        return files.read(Path(folder) / name)


def build(stem: Path, ahead: Files, others: Sequence[Files], schedules: Schedules) -> TrialProgram:
    """``stem``.run: ``others`` take turns with ``ahead``. Raises BuildError, and InputError for
    programs of too many steps.
    """
    if ROUNDS * sum(2 + steps(one) for one in others) > _MOST:
        raise InputError(f"{len(others)} programs have too many steps for one executable")
    tools = link.toolchain(schedules.target.arch, schedules.target.link)
    return turns.build(stem, [ahead, *others], timing.RUNS, tools)


def measuring(rounds: int = ROUNDS) -> Measuring:
    """How such an executable is run."""
    return Measuring(repeats=rounds, burst=0.0, limit=LIMIT)


def steps(program: Files) -> int:
    """Of a program: as many times as ``read`` reads."""
    return len(program.description.steps)


def identity(ahead: Files, others: Sequence[Files]) -> str:
    """What an executable of these calls itself."""
    return turns.identity([ahead, *others])


def read(
    found: Measurement, counts: Sequence[int], rounds: int = ROUNDS
) -> tuple[str, str, list[Times]]:
    """The executable's identity, what its machine calls itself, and the times of each program, of
    which ``counts`` are the steps.

    Raises DeviceError for times of another executable.
    """
    identity, _, machine = found.name.partition(" ")
    sizes = [2 + count for count in counts]
    if len(found.seconds) != rounds * sum(sizes):
        raise DeviceError(
            f"{len(found.seconds)} times of {len(counts)} programs: not what they measure"
        )
    table = np.array(found.seconds).reshape(rounds, sum(sizes))
    parts = np.split(table, np.cumsum(sizes)[:-1], axis=1)
    return identity, machine, [Times(p[:, 1], p[:, 0], p[:, 2:]) for p in parts]
