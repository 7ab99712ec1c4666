"""How programs of a calibration become one that takes turns itself, by kind of machine."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bnn_compiler.cost.pick import Schedules
from bnn_compiler.deploy.cpu.trial import TrialProgram
from bnn_compiler.latency import launched, linked
from bnn_compiler.plan.plan import Plan
from bnn_compiler.target import Target


@dataclass(frozen=True)
class Maker:
    """``compiled`` makes a program of a plan under a name, ``build`` one at a stem of a reference
    and some others, ``identity`` is what that calls itself, ``steps`` those of a program.

    Plans are drawn for one of ``batches``, or for the batch of their template if there are none.
    """

    compiled: Callable[[Plan, Schedules, str], Any]
    build: Callable[[Path, Any, Sequence[Any], Schedules], TrialProgram]
    identity: Callable[[Any, Sequence[Any]], str]
    steps: Callable[[Any], int]
    batches: tuple[int, ...] = ()


_MAKERS = {
    "llvm": Maker(linked.compiled, linked.build, linked.identity, linked.steps),
    "cuda": Maker(
        launched.compiled, launched.build, launched.identity, launched.steps, launched.BATCHES
    ),
}


def of(target: Target) -> Maker:
    """That of programs for ``target``."""
    return _MAKERS[target.hardware.kind]
