"""Every trial ever made, appended to a file as it ends: a killed search goes on where it was."""

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from types import TracebackType

import tvm

from bnn_compiler import families, kernels
from bnn_compiler.cost.records import optional
from bnn_compiler.errors import ScheduleError
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
    )
    for path in sorted((*parts, package / "deploy/cpu/trial.py", package / "tune/harness.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


class Journal:
    """The file, held by one process at a time; ``trials`` are of this code and setting.

    ``machine`` names what measures (default: this CPU).

    Raises ScheduleError if another process holds it, or it cannot be written.
    """

    def __init__(self, path: Path, target: Target, machine: str | None = None) -> None:
        self.path = path
        self.setting = describe(target, machine or cpu.name())
        self._cut = 0
        self.trials: list[Trial] = []
        self.others = 0
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("a+b")
        except OSError as e:
            raise ScheduleError(f"cannot write the journal {path}: {e}; --journal names it") from e
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as e:
            self._file.close()
            raise ScheduleError(
                f"another process is tuning with {path}; wait for it, or name another --journal"
            ) from e
        except OSError as e:
            self._file.close()
            raise ScheduleError(f"cannot lock {path}: {e}; name another --journal") from e
        self._read()

    def _read(self) -> None:
        self._file.seek(0)
        lines = self._file.read().splitlines(keepends=True)
        if lines and not lines[-1].endswith(b"\n"):
            # Cut short when a process was killed.
            self._cut = len(lines.pop())
        for number, line in enumerate(lines, 1):
            try:
                data = json.loads(line)
                trial = Trial(
                    Task.from_dict(data["task"]),
                    families.point_of(data["point"]),
                    optional(data["seconds"]),
                    str(data["error"]),
                )
                code_, setting = data["code"], data["device"]
                mine = (code_, setting) == (code(), self.setting)
                if mine and isinstance(trial.point, Foreign):
                    raise ValueError(f"no kernel family {data['point']['family']!r}")
            except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as e:
                self._file.close()
                raise ScheduleError(
                    f"{self.path}:{number} is not a trial; is it another file? {e!r}"
                ) from e
            if mine:
                self.trials.append(trial)
            else:
                self.others += 1
        if self._cut:
            if not lines and not _is_start(self.path):
                self._file.close()
                raise ScheduleError(
                    f"{self.path} is not a journal of trials; name another --journal"
                )
            self._file.truncate(self._file.seek(0, os.SEEK_END) - self._cut)

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
        try:
            self._file.write(json.dumps(line).encode() + b"\n")
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as e:
            raise ScheduleError(f"cannot write the journal {self.path}: {e}") from e
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


def _is_start(path: Path) -> bool:
    """Whether the file begins as a trial does."""
    with path.open("rb") as file:
        return file.read(9) == b'{"code": '


def describe(target: Target, machine: str) -> str:
    """Changes with the target's code and hardware, and with the machine that measures."""
    text = json.dumps([target.tvm, asdict(target.hardware), machine], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]
