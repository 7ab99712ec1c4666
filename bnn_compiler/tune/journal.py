"""Every trial ever made, appended to a file as it ends: a killed search goes on where it was."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import tvm

from bnn_compiler import families, kernels
from bnn_compiler.closing import Closing
from bnn_compiler.cost.records import optional
from bnn_compiler.jsonlines import JsonLines
from bnn_compiler.kernels.point import Foreign, Point
from bnn_compiler.kernels.task import Task
from bnn_compiler.runtime import cpu
from bnn_compiler.target import Target


@dataclass(frozen=True)
class Trial:
    """One schedule tried: its seconds, or what went wrong."""

    task: Task
    point: Point
    seconds: float | None
    error: str = ""


@cache
def code() -> str:
    """Changes with the kernels, with what times them and with TVM: other trials do not compare."""
    digest = hashlib.sha256(tvm.__version__.encode())
    package = Path(kernels.__file__).parent.parent
    parts = (
        *package.rglob("kernels/**/*.py"),
        *package.glob("ops/*.py"),
        *package.glob("device/*.c"),
        *package.glob("deploy/cpu/runtime/trial.[ch]"),
        *(package / name for name in ("deploy/cpu/runtime/timing.h", "deploy/cpu/trial.py")),
        *package.glob("deploy/cuda/trial*.py"),
    )
    for path in sorted((*parts, package / "tune/harness.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


class Journal(Closing):
    """The file, held by one process at a time; ``trials`` are of this code and setting.

    ``machine`` names what measures (default: this CPU).

    Raises ScheduleError if another process holds it, or it cannot be written.
    """

    def __init__(self, path: Path, target: Target, machine: str | None = None) -> None:
        self.setting = describe(target, machine or cpu.name())
        self.trials: list[Trial] = []
        self.others = 0
        self._lines = JsonLines(path, "trial", "tuning", "code")
        self._lines.read(self._parse)

    def _parse(self, data: Any) -> None:
        trial = Trial(
            Task.from_dict(data["task"]),
            families.point_of(data["point"]),
            optional(data["seconds"]),
            str(data["error"]),
        )
        if (data["code"], data["device"]) != (code(), self.setting):
            self.others += 1
            return
        if isinstance(trial.point, Foreign):
            raise ValueError(f"no kernel family {data['point']['family']!r}")
        self.trials.append(trial)

    def add(self, trial: Trial) -> None:
        """Append one trial; it is on disk when this returns. Raises ScheduleError if not."""
        line = {
            "code": code(),
            "device": self.setting,
            "task": trial.task.as_dict(),
            "point": trial.point.as_dict(),
            "seconds": trial.seconds,
            "error": trial.error,
        }
        self._lines.add(line)
        self.trials.append(trial)

    def of(self, task: Task) -> Iterator[Trial]:
        """The trials of one task."""
        return (t for t in self.trials if t.task == task)

    def close(self) -> None:
        """Let other processes have the file."""
        self._lines.close()


def describe(target: Target, machine: str) -> str:
    """Changes with the target's code and hardware, and with the machine that measures."""
    text = json.dumps([target.tvm, asdict(target.hardware), machine], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]
