"""Every program that was timed, a line each, on disk at once: a killed calibration goes on."""

import fcntl
import hashlib
import json
import os
from functools import cache
from pathlib import Path
from types import TracebackType

import tvm

from bnn_compiler import kernels
from bnn_compiler.errors import ScheduleError
from bnn_compiler.latency.sample import Sample
from bnn_compiler.target import Target

_START = b'{"code": '


@cache
def code() -> str:
    """Changes with what makes the programs and with what times them: other times do not compare."""
    digest = hashlib.sha256(tvm.__version__.encode())
    package = Path(kernels.__file__).parent.parent
    parts = [
        *package.rglob("kernels/**/*.py"),
        *package.glob("deploy/cpu/*.py"),
        *package.glob("deploy/cpu/runtime/bnn_threads.c"),
        *package.glob("plan/*.py"),
        *(package / "latency" / name for name in ("programs.py", "timing.py")),
    ]
    for path in sorted(parts):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


class Journal:
    """The file, held by one process at a time; ``samples`` are those of this code, target and CPU.

    Lines of others stay in the file and are counted in ``others``. Raises ScheduleError if another
    process holds it, it cannot be written, or it is another kind of file.
    """

    def __init__(self, path: Path, target: Target, cpu: str) -> None:
        self.path = path
        text = json.dumps([target.name, target.tvm, cpu], sort_keys=True)
        self._device = hashlib.sha256(text.encode()).hexdigest()[:12]
        self.samples: list[Sample] = []
        self.others = 0
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("a+b")
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as e:
            self._file.close()
            raise ScheduleError(
                f"another process is calibrating with {path}; wait for it, or name another"
                " --journal"
            ) from e
        except OSError as e:
            raise ScheduleError(f"cannot write the journal {path}: {e}; --journal names it") from e
        try:
            self._read()
        except ScheduleError:
            self._file.close()
            raise

    def _read(self) -> None:
        self._file.seek(0)
        lines = self._file.read().splitlines(keepends=True)
        whole = [line for line in lines if line.endswith(b"\n")]
        for number, line in enumerate(whole, 1):
            try:
                data = json.loads(line)
                mine = (data["code"], data["device"]) == (code(), self._device)
                if mine:
                    self.samples.append(Sample.from_dict(data["sample"]))
            except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as e:
                raise ScheduleError(
                    f"{self.path}:{number} is not a timed program; is it another file? {e!r}"
                ) from e
            self.others += not mine
        if len(whole) < len(lines):
            # Cut short when a process was killed.
            cut = lines[-1]
            if not whole and not cut.startswith(_START[: len(cut)]):
                raise ScheduleError(
                    f"{self.path} is not a journal of timed programs; name another --journal"
                )
            self._file.truncate(self._file.seek(0, os.SEEK_END) - len(cut))

    def add(self, sample: Sample) -> None:
        """Append one; it is on disk when this returns. Raises ScheduleError if not."""
        line = {"code": code(), "device": self._device, "sample": sample.as_dict()}
        try:
            self._file.write(json.dumps(line).encode() + b"\n")
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as e:
            raise ScheduleError(f"cannot write the journal {self.path}: {e}") from e
        self.samples.append(sample)

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
