"""Write an artifact in one piece or not at all."""

import errno
import io
import json
import os
import shutil
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bnn_compiler.errors import ArtifactError
from bnn_compiler.runtime.files import blank_comment, sealed
from bnn_compiler.runtime.seal import dumps


def write_artifact(
    path: Path, manifest: Mapping[str, Any], files: Mapping[str, Path], *, as_folder: bool
) -> None:
    """Write to a temporary name beside ``path``, then rename. ``manifest`` is complete.

    Raises ArtifactError if ``path`` exists and is no artifact, or cannot be written; nothing
    half-written is left behind.
    """
    _refuse_foreign(path)
    data = {name: source.read_bytes() for name, source in files.items()}
    data["manifest.json"] = dumps(manifest)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    old = path.with_name(f".{path.name}.{os.getpid()}.old")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _write_folder(partial, data) if as_folder else _write_zip(partial, data)
        if path.is_dir():
            path.replace(old)
        partial.replace(path)
    except OSError as e:
        reason = "the disk is full" if e.errno == errno.ENOSPC else str(e)
        raise ArtifactError(f"cannot write {path}: {reason}") from e
    finally:
        _remove(partial)
        _remove(old)


def _write_zip(path: Path, data: Mapping[str, bytes]) -> None:
    memory = io.BytesIO()
    with zipfile.ZipFile(memory, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.comment = blank_comment()
        for name in sorted(data):
            # A fixed date: equal contents give equal files.
            entry = zipfile.ZipInfo(name, (2000, 1, 1, 0, 0, 0))
            archive.writestr(entry, data[name], zipfile.ZIP_DEFLATED)
    _write(path, sealed(memory.getvalue()))


def _write_folder(path: Path, data: Mapping[str, bytes]) -> None:
    path.mkdir()
    for name, content in data.items():
        _write(path / name, content)


def _write(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _refuse_foreign(path: Path) -> None:
    if not path.exists():
        return
    if path.is_dir():
        known = not any(path.iterdir()) or _is_manifest(path / "manifest.json")
    else:
        known = zipfile.is_zipfile(path) and _is_manifest(zipfile.Path(path, "manifest.json"))
    if not known:
        raise ArtifactError(f"{path} exists and is not an artifact; choose another output")


def _is_manifest(file: Path | zipfile.Path) -> bool:
    """Whether ``file`` is what ``write_artifact`` writes; a model's .pt2 is a zip too."""
    try:
        found = json.loads(file.read_text())
    except (OSError, KeyError, ValueError, RecursionError, zipfile.BadZipFile):
        return False
    return isinstance(found, dict) and {"format", "files"} <= found.keys()
