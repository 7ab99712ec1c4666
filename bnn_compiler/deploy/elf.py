"""What an ELF file says of itself."""

import struct
from pathlib import Path

_LOAD, _EXECUTABLE = 1, 1


def code_bytes(path: Path) -> int:
    """Bytes of machine code in a 64-bit little-endian library: its executable segments."""
    data = path.read_bytes()
    (table,) = struct.unpack_from("<Q", data, 32)
    entry, count = struct.unpack_from("<HH", data, 54)
    total = 0
    for i in range(count):
        kind, flags, _, _, _, size = struct.unpack_from("<IIQQQQ", data, table + i * entry)
        total += size if kind == _LOAD and flags & _EXECUTABLE else 0
    return total
