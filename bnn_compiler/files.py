"""Files that are whole or not there: written under a temporary name, then renamed."""

import os
from pathlib import Path


def replace_bytes(path: Path, data: bytes) -> None:
    """Replace ``path`` in one step; its folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        partial.write_bytes(data)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def replace_text(path: Path, text: str) -> None:
    """The same for text."""
    replace_bytes(path, text.encode())
