"""A file of JSON lines, each on disk as it is added: what was stopped can go on where it was."""

import fcntl
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from bnn_compiler.closing import Closing
from bnn_compiler.errors import ScheduleError


class JsonLines(Closing):
    """The file, held by one process at a time; a last line that was cut short is removed.

    ``kind`` is what a line is ("trial"), ``doing`` what is done with the file ("tuning"), for
    errors; every line begins with ``first``, its first key. Raises ScheduleError if another process
    holds the file, it cannot be written, or it is another kind of file.
    """

    def __init__(self, path: Path, kind: str, doing: str, first: str) -> None:
        self.path, self.kind = path, kind
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("a+b")
        except OSError as e:
            raise ScheduleError(f"cannot write the journal {path}: {e}; --journal names it") from e
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as e:
            self.close()
            raise ScheduleError(
                f"another process is {doing} with {path}; wait for it, or name another --journal"
            ) from e
        except OSError as e:
            self.close()
            raise ScheduleError(f"cannot lock {path}: {e}; name another --journal") from e
        self._file.seek(0)
        self._lines = self._file.read().splitlines(keepends=True)
        if self._lines and not self._lines[-1].endswith(b"\n"):
            self._cut(self._lines.pop(), f'{{"{first}": '.encode())

    def _cut(self, line: bytes, start: bytes) -> None:
        """Remove what a killed process left of ``line``."""
        if not self._lines and not line.startswith(start[: len(line)]):
            self.close()
            raise ScheduleError(
                f"{self.path} is not a journal of {self.kind}s; name another --journal"
            )
        self._file.truncate(self._file.seek(0, os.SEEK_END) - len(line))

    def read(self, parse: Callable[[Any], None]) -> None:
        """Parse every line that was there. Raises ScheduleError for one that is not of the kind."""
        for number, line in enumerate(self._lines, 1):
            try:
                parse(json.loads(line))
            except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as e:
                self.close()
                raise ScheduleError(
                    f"{self.path}:{number} is not a {self.kind}; is it another file? {e!r}"
                ) from e

    def add(self, line: Mapping[str, Any]) -> None:
        """Append one; it is on disk when this returns. Raises ScheduleError if not."""
        try:
            self._file.write(json.dumps(line).encode() + b"\n")
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as e:
            raise ScheduleError(f"cannot write the journal {self.path}: {e}") from e

    def close(self) -> None:
        """Let other processes have the file."""
        self._file.close()
