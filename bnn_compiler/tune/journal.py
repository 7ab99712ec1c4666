"""Every trial ever made, appended to a file as it ends: a killed search goes on where it was."""

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any

import tvm

from bnn_compiler import kernels
from bnn_compiler.errors import ScheduleError
from bnn_compiler.kernels.point import Point
from bnn_compiler.kernels.task import Task


@dataclass(frozen=True)
class Trial:
    """One schedule tried: its seconds, or what went wrong."""

    task: Task
    point: Point
    seconds: float | None
    error: str = ""


@cache
def code() -> str:
    """Changes with the kernels and with TVM: trials of other code are not comparable."""
    digest = hashlib.sha256(tvm.__version__.encode())
    for path in sorted(Path(kernels.__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


class Journal:
    """The file, held by one process at a time; ``trials`` are those of this code.

    Raises ScheduleError if another process holds it, or it cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.trials: list[Trial] = []
        self.others = 0
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("a+b")
        except OSError as e:
            raise ScheduleError(f"cannot write the journal {path}: {e}; --journal names it") from e
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as e:
            self._file.close()
            raise ScheduleError(
                f"another process is tuning with {path}; wait for it, or name another --journal"
            ) from e
        self._read()

    def _read(self) -> None:
        self._file.seek(0)
        good = 0
        for line in self._file.read().splitlines(keepends=True):
            data = _parse(line)
            if data is None:
                break
            good += len(line)
            if data["code"] != code():
                self.others += 1
                continue
            self.trials.append(
                Trial(
                    Task.from_dict(data["task"]),
                    Point.from_dict(data["point"]),
                    data["seconds"],
                    data["error"],
                )
            )
        # What follows was cut short when a process was killed.
        self._file.truncate(good)

    def add(self, trial: Trial) -> None:
        """Append one trial; it is on disk when this returns."""
        line = {
            "code": code(),
            "task": trial.task.as_dict(),
            "point": trial.point.as_dict(),
            "seconds": trial.seconds,
            "error": trial.error,
        }
        self._file.write(json.dumps(line).encode() + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())
        self.trials.append(trial)

    def of(self, task: Task) -> Iterator[Trial]:
        """The trials of one task."""
        return (t for t in self.trials if t.task == task)

    def close(self) -> None:
        """Let other processes have the file."""
        self._file.close()

    def __enter__(self) -> "Journal":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _parse(line: bytes) -> dict[str, Any] | None:
    """The line as an object with a trial's keys, or None if it was cut short."""
    if not line.endswith(b"\n"):
        return None
    try:
        data = json.loads(line)
    except ValueError:
        return None
    wanted = {"code", "task", "point", "seconds", "error"}
    return data if isinstance(data, dict) and set(data) == wanted else None
