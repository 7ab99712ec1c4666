"""Bytes in a file with their SHA-256, for a reader that damaged ones would crash."""

import hashlib
from pathlib import Path

from bnn_compiler.files import replace_bytes

#: What a sealed file begins with; then comes the digest, then the contents.
MAGIC = b"bnnseal1"
_HEADER = len(MAGIC) + hashlib.sha256().digest_size


def write(path: Path, contents: bytes) -> None:
    """Replace the file. Raises OSError if it cannot be written."""
    replace_bytes(path, MAGIC + hashlib.sha256(contents).digest() + contents)


def read(path: Path) -> bytes:
    """What ``write`` wrote. Raises ValueError for anything else, OSError if it cannot be read."""
    data = path.read_bytes()
    if not data.startswith(MAGIC):
        raise ValueError("it has no digest: it is empty, of an older version or of something else")
    contents = data[_HEADER:]
    if hashlib.sha256(contents).digest() != data[len(MAGIC) : _HEADER]:
        raise ValueError("it is damaged: its SHA-256 differs from the one in it")
    return contents
