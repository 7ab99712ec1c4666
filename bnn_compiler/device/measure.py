"""What a program of trial.c measured, and running it on this machine."""

import json
import math
import signal
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from bnn_compiler.deploy.cpu.trial import TrialProgram
from bnn_compiler.errors import DeviceError
from bnn_compiler.runtime import cpu

#: Exit codes of launch.h: stopped after its time, or could not be started.
TIMEOUT, CANNOT_RUN = 124, 126
#: Seconds after which a program is killed that should have ended itself.
_GRACE = 5


@dataclass(frozen=True)
class Measurement:
    """What was measured (by name), seconds of one call in several bursts, digest of its outputs."""

    name: str
    seconds: tuple[float, ...]
    digest: str


@dataclass(frozen=True)
class Outcome:
    """A measurement, or one line of what went wrong."""

    found: Measurement | None
    error: str = ""


@dataclass(frozen=True)
class Plan:
    """``repeats`` bursts of ``burst`` seconds (0: single calls), in ``limit`` seconds in all."""

    repeats: int = 8
    burst: float = 2e-3
    limit: int = 10
    threads: int = 1

    def arguments(self) -> list[str]:
        """Those of a program, after its file of constants."""
        return [
            str(v) for v in (self.repeats, math.ceil(1e6 * self.burst), self.limit, self.threads)
        ]


#: What tuning asks for.
DEFAULT = Plan()
#: Told the index of a program and its outcome, as each is known.
Done = Callable[[int, Outcome], None]


class Machine(Protocol):
    """Where programs are measured: this machine, boards of a lab, later others.

    ``name`` tells machines apart whose times must not be mixed. Programs for one that is not
    ``here`` are static: the C library there may be another.
    """

    name: str
    here: bool

    def measure(self, programs: Sequence[TrialProgram], plan: Plan, done: Done) -> None:
        """Measure each; ``done`` is called in this thread.

        Raises DeviceError when the machine, not a program, is at fault; what was ``done`` counts.
        """


def read(code: int, output: str) -> Outcome:
    """The outcome of a program that ended with exit ``code``.

    Raises DeviceError if it could not be started.
    """
    words = " ".join(output.split())[:200]
    if code == CANNOT_RUN:
        raise DeviceError(f"cannot run programs of this target: {words}")
    if code == TIMEOUT or code == 128 + signal.SIGALRM:
        return Outcome(None, "took too long and was stopped")
    if code > 128:
        return Outcome(None, f"crashed: {_signal(code - 128)}")
    if code:
        return Outcome(None, words or f"exit code {code}")
    try:
        data = json.loads(output)
        seconds = tuple(float(s) for s in data["seconds"])
        found = Measurement(str(data["name"]), seconds, str(data["digest"]))
    except (ValueError, KeyError, TypeError) as e:
        return Outcome(None, f"printed no measurement: {words} ({e!r})")
    if not seconds or not all(0 < s < math.inf for s in seconds):
        return Outcome(None, f"measured no time: {words}")
    return Outcome(found)


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


class Here:
    """This machine: one program after the other, with nothing else running.

    ``name`` is that of what computes: this CPU, if nothing else is said.
    """

    here = True

    def __init__(self, name: str = "") -> None:
        self.name = name or cpu.name()

    def measure(self, programs: Sequence[TrialProgram], plan: Plan, done: Done) -> None:
        """See Machine."""
        for index, program in enumerate(programs):
            done(index, run_here(program, plan))


def run_here(program: TrialProgram, plan: Plan = DEFAULT) -> Outcome:
    """Measure one program in a process of its own, which Ctrl-C does not reach."""
    command = [str(program.path), str(program.constants), *plan.arguments()]
    try:
        done = subprocess.run(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=plan.limit + _GRACE,
            process_group=0,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return read(TIMEOUT, "")
    except OSError as e:
        return read(CANNOT_RUN, str(e))
    code = done.returncode
    return read(code if code >= 0 else 128 - code, done.stdout)


def fastest(program: TrialProgram) -> float:
    """The least seconds of one call. Raises DeviceError if it fails."""
    outcome = run_here(program)
    if outcome.found is None:
        raise DeviceError(f"{program.path}: {outcome.error}")
    return min(outcome.found.seconds)
