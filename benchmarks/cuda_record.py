"""What a run on a GPU found so far, on disk before and after every case.

A kernel that faults takes its process's GPU away, one that never ends takes the process: so a child
does the work, and a parent starts another where one ended, or took too long. What it was doing has
that for a result.
"""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol

#: The exit status of a child whose GPU is lost.
LOST = 3
#: The error of what was not begun, or not ended.
TOO_LATE = "no time was left"
#: Seconds between two looks at a child.
_LOOK = 0.5


class Device(Protocol):
    """A GPU, as far as it is watched."""

    def wait(self) -> None:
        """Until everything has ended. Raises RuntimeError if the GPU is lost."""


class Record:
    """``found`` is the JSON of ``path`` as far as it is known; a second one goes on with it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.found: dict[str, Any] = {}
        if path.is_file():
            self.found = json.loads(path.read_text())
        self.begun: float = self.found.setdefault("begun", time.time())

    def seconds(self) -> float:
        """Since the beginning, in whichever process that was."""
        return time.time() - self.begun

    def write(self) -> None:
        """All of it, or nothing: whoever lends the machine may take it away."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        draft = self.path.with_suffix(".draft")
        draft.write_text(json.dumps(self.found, indent=1) + "\n")
        draft.replace(self.path)

    def case(
        self,
        part: str,
        name: str,
        work: Callable[[], Any],
        limits: tuple[float, float],
        gpu: Device,
    ) -> None:
        """Do ``work``, unless it is done or the time is over; its error is its result.

        ``limits`` are the second at which it is no longer begun, and how long it may take. The
        process ends with LOST if ``gpu`` is lost.
        """
        done = self.found.setdefault(part, {})
        if name in done:
            return
        end, most = limits
        if self.seconds() > end:
            done[name] = {"error": TOO_LATE}
            return
        self.found["doing"] = [part, name, time.time() + most]
        self.write()
        start, failed = self.seconds(), False
        try:
            done[name] = work()
        except Exception as e:
            done[name], failed = {"error": f"{type(e).__name__}: {e}"[:800]}, True
        spent = self.found.setdefault("seconds", {})
        spent[part] = round(spent.get(part, 0.0) + self.seconds() - start, 1)
        del self.found["doing"]
        self.write()
        if failed and _lost(gpu):
            os._exit(LOST)

    def each(
        self,
        part: str,
        names: Iterable[str],
        work: Callable[[str], Any],
        limits: tuple[float, float],
        gpu: Device,
    ) -> None:
        """``case`` of each of ``names``."""
        for name in names:
            self.case(part, name, lambda name=name: work(name), limits, gpu)  # type: ignore[misc]


def _lost(gpu: Device) -> bool:
    """Errors of a kernel stick to the process: every later call has them."""
    try:
        gpu.wait()
    except RuntimeError:
        return True
    return False


def limited(command: Sequence[str], seconds: float) -> "subprocess.CompletedProcess[str] | None":
    """What a command says; None, and nothing of it is left, if it takes more than ``seconds``.

    What it has started would hold the GPU, and the pipes for which one waits.
    """
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as running:
        try:
            out, err = running.communicate(timeout=max(1.0, seconds))
        except subprocess.TimeoutExpired:
            os.killpg(running.pid, signal.SIGKILL)
            return None
    return subprocess.CompletedProcess(command, running.returncode, out, err)


def supervise(command: Sequence[str], path: Path, most: int = 20) -> dict[str, Any]:
    """Run ``command`` until it has done everything, at most ``most`` times; what is in ``path``."""
    for _ in range(most):
        child = subprocess.Popen(command)
        try:
            why = _watched(child, path)
        finally:
            child.kill()
            child.wait()
        if why is None:
            break
        record = Record(path)
        record.found.setdefault("ended", []).append(why)
        doing = record.found.pop("doing", None)
        if doing is not None:
            record.found[doing[0]][doing[1]] = {"error": why}
        record.write()
        if doing is None and child.returncode != LOST:
            break
    return Record(path).found


def _watched(child: "subprocess.Popen[bytes]", path: Path) -> str | None:
    """Why a child did not end by itself and well; None if it did."""
    while True:
        try:
            code = child.wait(_LOOK)
        except subprocess.TimeoutExpired:
            doing = Record(path).found.get("doing")
            if doing is not None and time.time() > doing[2]:
                return f"{doing[0]} {doing[1]} did not end"
            continue
        if code == LOST:
            return "the GPU was lost: a kernel faulted"
        return None if code == 0 else f"the process ended with {code}"
