"""Tuned schedules in a file: one line of JSON for each task and CPU, the best that was measured."""

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bnn_compiler import families
from bnn_compiler.errors import ScheduleError
from bnn_compiler.files import check_writable, locked, replace_text
from bnn_compiler.kernels.point import Point
from bnn_compiler.kernels.task import Task
from bnn_compiler.target import DATA, Target


@dataclass(frozen=True)
class Record:
    """The best ``point`` of a task: its time, the rule's time, the trials it took.

    ``float_seconds`` is what the same layer took in float32, where that was measured (binary layers
    of few channels to a group). ``kernel`` is the digest of the scheduled kernel
    (families.py): a record whose kernel has changed since says nothing any more. ``cpu`` is what
    measured it (cpus.py): on another one it is a candidate (weigh.py).
    """

    task: Task
    point: Point
    seconds: float
    rule_seconds: float | None
    trials: int
    kernel: str
    float_seconds: float | None = None
    cpu: str = ""

    @property
    def key(self) -> str:
        """What tells two records apart, as text."""
        return key(self.task, self.cpu)

    def as_dict(self) -> dict[str, Any]:
        """One line of the file."""
        return {
            "task": self.task.as_dict(),
            "point": self.point.as_dict(),
            "seconds": self.seconds,
            "rule_seconds": self.rule_seconds,
            "trials": self.trials,
            "kernel": self.kernel,
            "float_seconds": self.float_seconds,
            "cpu": self.cpu,
        }

    @staticmethod
    def from_dict(data: dict[str, Any]) -> "Record":
        """The inverse."""
        return Record(
            Task.from_dict(data["task"]),
            families.point_of(data["point"]),
            positive(data["seconds"]),
            optional(data["rule_seconds"]),
            int(data["trials"]),
            str(data["kernel"]),
            optional(data.get("float_seconds")),
            str(data.get("cpu", "")),
        )


def key(task: Task, cpu: str) -> str:
    """That of a task's record on a CPU."""
    return f"{task.key} {cpu}"


def positive(seconds: Any) -> float:
    """A time as it was read. Raises ValueError or TypeError for anything else."""
    if not 0 < seconds < math.inf:
        raise ValueError(f"{seconds} seconds")
    return float(seconds)


def optional(seconds: Any) -> float | None:
    """The same, or None for what was not measured."""
    return None if seconds is None else positive(seconds)


def shipped(target: Target) -> Path:
    """Where the records of a target lie that come with the package; the file may be missing."""
    return DATA / "schedules" / f"{target.name}.jsonl"


def existing(path: Path) -> Path:
    """``path``. Raises ScheduleError if there is no such file."""
    if not path.is_file():
        raise ScheduleError(f"no schedule records {path}; `bnnc tune` writes them")
    return path


def read(path: Path) -> dict[str, Record]:
    """Records by their key; none if there is no file.

    Raises ScheduleError, naming the line, for a file that is not what ``write`` writes.
    """
    if not path.is_file():
        return {}
    found: dict[str, Record] = {}
    try:
        lines = path.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as e:
        raise ScheduleError(f"{path} is not a file of schedule records: {e}") from e
    for number, line in enumerate(lines, 1):
        try:
            record = Record.from_dict(json.loads(line))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as e:
            raise ScheduleError(f"{path}:{number} is not a schedule record: {e!r}") from e
        found[record.key] = record
    return found


def write(path: Path, records: dict[str, Record]) -> None:
    """Replace the file, ordered by task and CPU. Raises ScheduleError if it cannot be written."""
    ordered = sorted(records.values(), key=lambda r: (str(r.task), r.key))
    text = "".join(json.dumps(r.as_dict(), sort_keys=True) + "\n" for r in ordered)
    with _writing(path):
        replace_text(path, text)


def update(path: Path, records: dict[str, Record]) -> None:
    """Add records to the file, which other processes may be adding to.

    Raises ScheduleError if it cannot be written.
    """
    with _writing(path), locked(path.parent):
        write(path, read(path) | records)


def check(path: Path) -> dict[str, Record]:
    """``read``, and ScheduleError if the file could not be written later."""
    if path.is_dir() or not path.name:
        raise ScheduleError(f"cannot write {path}: it is a folder; --schedules names a file")
    with _writing(path):
        check_writable(path)
    return read(path)


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as e:
        raise ScheduleError(f"cannot write {path}: {e}; --schedules names another file") from e
