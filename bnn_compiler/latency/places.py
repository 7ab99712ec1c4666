"""Where a calibration's programs are built and timed: this machine, or boards."""

import logging
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol

from bnn_compiler.cost.pick import Schedules
from bnn_compiler.device.measure import Machine, Outcome
from bnn_compiler.errors import DeviceError
from bnn_compiler.latency import linked, making, programs, timing
from bnn_compiler.latency.templates import REFERENCE
from bnn_compiler.latency.timing import Subject, Times
from bnn_compiler.plan.plan import Plan
from bnn_compiler.runtime import cpu

log = logging.getLogger("bnn_compiler")

#: Rounds in which the reference program alone is timed, to see that its code runs.
_TRIED = 2


class Place(Protocol):
    """Builds programs and times them in turns with the reference program.

    ``cpu`` is what the machine calls itself.
    """

    cpu: str

    def begin(self) -> None:
        """Build the reference program, unless that is done. Raises BuildError."""

    def build(self, plan: Plan) -> Any:
        """A program for ``in_turns``. Raises BuildError."""

    def in_turns(self, built: Sequence[Any]) -> list[Times]:
        """The times of each; none if they cannot be timed together.

        Raises DeviceError if the machine, not a program, is at fault.
        """


def reference_plan() -> Plan:
    """Of what every program takes turns with."""
    variants = REFERENCE.variants()
    return programs.substitute(variants.plan, variants.kernels({}))


def reference(schedules: Schedules) -> Subject:
    """The reference program, built for this machine."""
    return Subject(programs.build(reference_plan(), schedules))


class Here:
    """This machine."""

    def __init__(self, schedules: Schedules) -> None:
        self.cpu = cpu.name()
        self._schedules = schedules
        self._ahead: Subject | None = None

    def begin(self) -> None:
        """See Place."""
        self._ahead = self._ahead or reference(self._schedules)

    def build(self, plan: Plan) -> Subject:
        """See Place."""
        return Subject(programs.build(plan, self._schedules))

    def in_turns(self, built: Sequence[Subject]) -> list[Times]:
        """See Place."""
        assert self._ahead is not None
        with timing.undisturbed():
            return timing.in_turns(built, self._ahead, linked.ROUNDS)


class There:
    """Boards, or this machine's GPU, one executable at a time.

    That they do not call themselves the same is an error.

    Raises BuildError if nothing here can build for them, DeviceError if they do not run it.
    """

    def __init__(self, machine: Machine, schedules: Schedules) -> None:
        self._machine, self._schedules = machine, schedules
        self._maker = making.of(schedules.target)
        self._count = 0
        self._ahead = self._maker.compiled(reference_plan(), schedules, linked.AHEAD)
        # In turns with itself, which tells what the machine is.
        outcome, _ = self._measure([self._ahead], _TRIED)
        if outcome.found is None:
            raise DeviceError(f"{machine.name} does not run the reference program: {outcome.error}")
        _, self.cpu, _ = linked.read(outcome.found, [self._maker.steps(self._ahead)], _TRIED)

    def begin(self) -> None:
        """See Place."""

    def build(self, plan: Plan) -> Any:
        """See Place."""
        self._count += 1
        return self._maker.compiled(plan, self._schedules, f"timed{self._count}")

    def in_turns(self, built: Sequence[Any]) -> list[Times]:
        """See Place."""
        outcome, identity = self._measure(built, linked.ROUNDS)
        if outcome.found is None:
            log.warning("%d programs were left out: %s", len(built), outcome.error)
            return []
        told, machine, times = linked.read(outcome.found, [*map(self._maker.steps, built)])
        if told != identity:
            raise DeviceError(f"{self._machine.name} measured another program")
        if machine != self.cpu:
            raise DeviceError(
                f"{self._machine.name}: one board is {self.cpu}, another is {machine};"
                " calibrate boards of one kind at a time"
            )
        return times

    def _measure(self, built: Sequence[Any], rounds: int) -> tuple[Outcome, str]:
        """What came of it, and the executable's identity."""
        outcomes: dict[int, Outcome] = {}
        with TemporaryDirectory(prefix="bnnc-calibrate-") as folder:
            stem = Path(folder) / "turns"
            program = self._maker.build(stem, self._ahead, built, self._schedules)
            plan = linked.measuring(rounds)
            self._machine.measure([program], plan, outcomes.__setitem__)
        return outcomes[0], self._maker.identity(self._ahead, built)
