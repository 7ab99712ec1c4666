"""What this machine's CPU can do."""

import platform
from functools import cache
from pathlib import Path

_CACHES = Path("/sys/devices/system/cpu/cpu0/cache")


@cache
def _fields() -> dict[str, str]:
    """What the kernel says of the first core; empty where it does not."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return {}
    pairs = (line.partition(":") for line in text.split("\n\n", 1)[0].splitlines())
    return {key.strip(): value.strip() for key, _, value in pairs}


@cache
def features() -> frozenset[str]:
    """The CPU's flags as the kernel names them; empty where it does not say."""
    fields = _fields()
    return frozenset(fields.get("flags", fields.get("Features", "")).split())


def name() -> str:
    """What the CPU calls itself, or else its architecture."""
    return _fields().get("model name") or machine()


def part() -> str:
    """The number of an ARM core ("0xd08" is a Cortex-A72); empty elsewhere."""
    return _fields().get("CPU part", "")


def caches() -> dict[int, int]:
    """Bytes of the data cache of each level that one core sees; empty where it is not said."""
    found = {}
    for index in sorted(_CACHES.glob("index*")):
        try:
            level, kind, size = ((index / n).read_text().strip() for n in ("level", "type", "size"))
            if kind in ("Data", "Unified"):
                found[int(level)] = int(size.removesuffix("K")) << 10
        except (OSError, ValueError):
            continue
    return dict(sorted(found.items()))


def machine() -> str:
    """The architecture as ``uname -m`` prints it."""
    return platform.machine()
