"""What a timing was taken on: the CPU, the software versions, and how busy the machine was.

`python -m benchmarks.machine` prints it as JSON.
"""

import importlib.metadata
import json
import os
import platform
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType

_CPUINFO = Path("/proc/cpuinfo")
_STAT = Path("/proc/stat")
_CACHES = Path("/sys/devices/system/cpu/cpu0/cache")
_PACKAGES = (
    "bnn_compiler",
    "apache-tvm",
    "torch",
    "openvino",
    "nncf",
    "onnxruntime",
    "numpy",
)
_UNKNOWN = "unknown"


@dataclass(frozen=True)
class Machine:
    """A CPU and the software on it.

    `cores` counts what this process may use; `caches` maps for example "L2 unified" to "1024K".
    """

    cpu: str
    flags: tuple[str, ...]
    cores: int
    caches: dict[str, str]
    virtual: bool
    system: str
    python: str
    packages: dict[str, str]


@dataclass(frozen=True)
class Load:
    """How busy a machine was between two moments.

    `average` is the kernel's 1-minute load average at the end, `others` the number of cores that
    other processes kept busy, `stolen` the number of cores that the hypervisor gave to other
    guests. NaN where /proc/stat does not exist.
    """

    average: float
    others: float
    stolen: float

    def __str__(self) -> str:
        return (
            f"load average {self.average:.2f}, other processes {self.others:.2f} cores, "
            f"stolen {self.stolen:.2f} cores"
        )


class LoadMeter:
    """Context manager whose `load` is, after the block, how busy the machine was during it."""

    load: Load

    def __enter__(self) -> "LoadMeter":
        self._start = (time.monotonic(), _own_seconds(), *_busy_seconds())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        wall0, own0, busy0, stolen0 = self._start
        busy, stolen = _busy_seconds()
        wall = max(time.monotonic() - wall0, 1e-9)
        own = _own_seconds() - own0
        self.load = Load(
            average=os.getloadavg()[0],
            others=max(busy - busy0 - own, 0.0) / wall if busy == busy else busy,
            stolen=(stolen - stolen0) / wall,
        )


def describe() -> Machine:
    """The machine this process runs on; "unknown" for what the system does not tell."""
    fields = cpu_fields(_CPUINFO.read_text() if _CPUINFO.exists() else "")
    flags = tuple(sorted(fields.get("flags", fields.get("Features", "")).split()))
    return Machine(
        cpu=_cpu_name(fields),
        flags=flags,
        cores=len(os.sched_getaffinity(0)),
        caches=_caches(),
        virtual="hypervisor" in flags,
        system=f"{platform.system()} {platform.release()}",
        python=platform.python_version(),
        packages={name: _version(name) for name in _PACKAGES},
    )


def cpu_fields(cpuinfo: str) -> dict[str, str]:
    """The fields of the first processor in the text of /proc/cpuinfo."""
    first = cpuinfo.split("\n\n", 1)[0]
    pairs = (line.split(":", 1) for line in first.splitlines() if ":" in line)
    return {key.strip(): value.strip() for key, value in pairs}


def pin(core: int | None = None) -> int:
    """Keep this process, and every thread it starts from now on, on one core; returns the core.

    Without `core` it takes the last one allowed: the first serves most interrupts.
    """
    chosen = max(os.sched_getaffinity(0)) if core is None else core
    os.sched_setaffinity(0, {chosen})
    return chosen


def _cpu_name(fields: dict[str, str]) -> str:
    name = fields.get("model name", platform.processor() or _UNKNOWN)
    # Virtual machines often hide the product; family and model still name the core.
    numbers = [f"{key} {fields[key]}" for key in ("cpu family", "model") if key in fields]
    return f"{name} ({', '.join(numbers)})" if numbers else name


def _caches() -> dict[str, str]:
    return {
        f"L{(index / 'level').read_text().strip()} {(index / 'type').read_text().strip().lower()}":
        (index / "size").read_text().strip()
        for index in sorted(_CACHES.glob("index*"))
    }  # fmt: skip


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _own_seconds() -> float:
    """CPU seconds of this process and of its finished children."""
    return sum(os.times()[:4])


def _busy_seconds() -> tuple[float, float]:
    """Seconds all cores together were busy, and were stolen, since the machine started."""
    if not _STAT.exists():
        return float("nan"), float("nan")
    ticks = [int(field) for field in _STAT.read_text().splitlines()[0].split()[1:9]]
    user, nice, system, _idle, _iowait, irq, softirq, steal = ticks
    per_second = os.sysconf("SC_CLK_TCK")
    return (user + nice + system + irq + softirq) / per_second, steal / per_second


if __name__ == "__main__":
    print(json.dumps(asdict(describe()), indent=2))
