"""Programs of a calibration as scripts for a GPU, and the times that they print.

What ``linked`` is for CPUs: a script holds the reference program and some others as machine code.
"""

from collections.abc import Sequence
from pathlib import Path

from bnn_compiler.cost.pick import Schedules
from bnn_compiler.deploy.cpu.trial import TrialProgram
from bnn_compiler.deploy.cuda import turns
from bnn_compiler.deploy.cuda.turns import Network
from bnn_compiler.plan import realize
from bnn_compiler.plan.plan import Plan

#: Sizes of batches, the usual ones more often: a GPU is filled by several images.
BATCHES = (1, 1, 1, 2, 4, 8, 8, 16, 32, 64)


def compiled(plan: Plan, schedules: Schedules, name: str) -> Network:
    """A program's kernels. Raises BuildError."""
    program, functions = realize.realize(plan, schedules, name)
    return turns.compiled(program, functions, schedules.target)


def build(
    stem: Path, ahead: Network, others: Sequence[Network], schedules: Schedules
) -> TrialProgram:
    """``stem``.run: ``others`` take turns with ``ahead``. Raises BuildError."""
    return turns.build(stem, [ahead, *others])


def identity(ahead: Network, others: Sequence[Network]) -> str:
    """What a script of these calls itself."""
    return turns.identity([ahead, *others])


def steps(network: Network) -> int:
    """Of a program."""
    return network.steps
