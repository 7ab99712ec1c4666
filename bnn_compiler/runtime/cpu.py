"""What this machine's CPU can do."""

import platform
from functools import cache
from pathlib import Path


@cache
def features() -> frozenset[str]:
    """The CPU's flags as the kernel names them; empty where it does not say."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return frozenset()
    for line in text.splitlines():
        key, _, value = line.partition(":")
        if key.strip() in ("flags", "Features"):
            return frozenset(value.split())
    return frozenset()


def machine() -> str:
    """The architecture as ``uname -m`` prints it."""
    return platform.machine()
