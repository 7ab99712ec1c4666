"""What this machine's CPU can do."""

import ctypes
import platform
from functools import cache
from pathlib import Path

#: The system call of x86-64, its question what state the system can keep, and the bit of tiles.
_ARCH_PRCTL, _ARCH_GET_XCOMP_SUPP, _XTILEDATA = 158, 0x1021, 18
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
    """The CPU's flags as the kernel names them; empty where it does not say.

    Those of AMX are there only if the system lets programs ask for its tiles.
    """
    fields = _fields()
    found = frozenset(fields.get("flags", fields.get("Features", "")).split())
    tiles = {flag for flag in found if flag.startswith("amx_")}
    return found if not tiles or _offers_tiles() else found - tiles


def _offers_tiles() -> bool:
    """Whether Linux (from 5.16 on) can keep a program's AMX tiles."""
    try:
        ask = ctypes.CDLL(None).syscall
    except (OSError, AttributeError):
        return False
    offered = ctypes.c_uint64(0)
    arguments = (ctypes.c_long(v) for v in (_ARCH_PRCTL, _ARCH_GET_XCOMP_SUPP))
    return ask(*arguments, ctypes.byref(offered)) == 0 and bool(offered.value >> _XTILEDATA & 1)


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
