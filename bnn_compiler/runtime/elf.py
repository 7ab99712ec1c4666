"""What a 64-bit little-endian ELF file says of itself, read without mapping it."""

import struct

_MAGIC = b"\x7fELF\x02\x01"
_LOAD, _EXECUTABLE = 1, 1
_DYNAMIC_SYMBOLS = 11


def code_bytes(data: bytes) -> int:
    """Bytes of machine code in a library: its executable segments.

    Raises ValueError if it is no such library.
    """
    _check(data)
    try:
        (table,) = struct.unpack_from("<Q", data, 32)
        entry, count = struct.unpack_from("<HH", data, 54)
        total = 0
        for i in range(count):
            kind, flags, _, _, _, size = struct.unpack_from("<IIQQQQ", data, table + i * entry)
            total += size if kind == _LOAD and flags & _EXECUTABLE else 0
    except (struct.error, OverflowError) as e:
        raise ValueError(f"its segments cannot be read: {e}") from e
    return total


def exported(data: bytes, name: str) -> bytes:
    """The bytes of the object that a library exports as ``name``.

    Raises ValueError if it is no library or exports no such object.
    """
    _check(data)
    wanted = name.encode() + b"\0"
    try:
        (table,) = struct.unpack_from("<Q", data, 40)
        entry, count = struct.unpack_from("<HH", data, 58)
        sections = [
            struct.unpack_from("<IIQQQQIIQQ", data, table + i * entry) for i in range(count)
        ]
        for _, kind, _, _, offset, size, strings, _, _, _ in sections:
            if kind != _DYNAMIC_SYMBOLS:
                continue
            names = sections[strings][4]
            for at in range(offset, offset + size, 24):
                label, _, _, section, address, length = struct.unpack_from("<IBBHQQ", data, at)
                if data[names + label : names + label + len(wanted)] == wanted:
                    start = address - sections[section][3] + sections[section][4]
                    return data[start : start + length]
    except (struct.error, IndexError, OverflowError) as e:
        raise ValueError(f"its symbols cannot be read: {e}") from e
    raise ValueError(f"it exports no {name}")


def _check(data: bytes) -> None:
    if not data.startswith(_MAGIC):
        raise ValueError("it is no 64-bit little-endian ELF file")
