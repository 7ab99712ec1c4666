"""Every program that was timed, a line each, on disk at once: a killed calibration goes on."""

import hashlib
import json
from functools import cache
from pathlib import Path
from typing import Any

import tvm

from bnn_compiler import kernels
from bnn_compiler.closing import Closing
from bnn_compiler.jsonlines import JsonLines
from bnn_compiler.latency.sample import Sample
from bnn_compiler.target import Target

#: Of deploy/cpu/runtime: what programs and their timing are made of.
_RUNTIME = ("bnn_threads.c", "timing.h", "turns.c", "turns.h")


@cache
def code() -> str:
    """Changes with what makes the programs and with what times them: other times do not compare."""
    digest = hashlib.sha256(tvm.__version__.encode())
    package = Path(kernels.__file__).parent.parent
    parts = [
        *package.rglob("kernels/**/*.py"),
        *package.glob("deploy/cpu/*.py"),
        *package.glob("deploy/cuda/*.py"),
        *(package / "deploy/cpu/runtime" / name for name in _RUNTIME),
        *package.glob("plan/*.py"),
        *(package / "latency" / name for name in ("programs.py", "timing.py")),
    ]
    for path in sorted(parts):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


class Journal(Closing):
    """The file, held by one process at a time; ``samples`` are those of this code, target and CPU.

    Lines of others stay in the file and are counted in ``others``. Raises ScheduleError if another
    process holds it, it cannot be written, or it is another kind of file.
    """

    def __init__(self, path: Path, target: Target, cpu: str) -> None:
        self.cpu = cpu
        self._device = describe(target, cpu)
        self.samples: list[Sample] = []
        self.others = 0
        self._lines = JsonLines(path, "timed program", "calibrating", "code")
        self._lines.read(self._parse)

    def _parse(self, data: Any) -> None:
        if (data["code"], data["device"]) == (code(), self._device):
            self.samples.append(Sample.from_dict(data["sample"]))
        else:
            self.others += 1

    def add(self, sample: Sample) -> None:
        """Append one; it is on disk when this returns. Raises ScheduleError if not."""
        self._lines.add({"code": code(), "device": self._device, "sample": sample.as_dict()})
        self.samples.append(sample)

    def close(self) -> None:
        """Let other processes have the file."""
        self._lines.close()


def describe(target: Target, cpu: str) -> str:
    """Changes with the target's code, and with the CPU that runs it."""
    text = json.dumps([target.name, target.tvm, cpu], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]
