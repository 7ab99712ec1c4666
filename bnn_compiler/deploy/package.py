"""Write an artifact in one piece or not at all."""

import errno
import hashlib
import json
import os
import shutil
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bnn_compiler.errors import ArtifactError


def write_artifact(
    path: Path, manifest: Mapping[str, Any], files: Mapping[str, Path], *, as_folder: bool
) -> None:
    """Write to a temporary name beside ``path``, then rename.

    Raises ArtifactError if ``path`` exists and is no artifact, or cannot be written; nothing
    half-written is left behind.
    """
    _refuse_foreign(path)
    described = {**manifest, "files": {name: _describe(file) for name, file in files.items()}}
    text = json.dumps(described, indent=1)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    old = path.with_name(f".{path.name}.{os.getpid()}.old")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        (_write_folder if as_folder else _write_zip)(partial, text, files)
        if path.is_dir():
            path.replace(old)
        partial.replace(path)
    except OSError as e:
        reason = "the disk is full" if e.errno == errno.ENOSPC else str(e)
        raise ArtifactError(f"cannot write {path}: {reason}") from e
    finally:
        _remove(partial)
        _remove(old)


def _describe(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"sha256": digest, "bytes": path.stat().st_size}


def _write_zip(path: Path, manifest: str, files: Mapping[str, Path]) -> None:
    with path.open("wb") as file:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            for name in sorted([*files, "manifest.json"]):
                # A fixed date: equal contents give equal files.
                entry = zipfile.ZipInfo(name, (2000, 1, 1, 0, 0, 0))
                entry.compress_type = zipfile.ZIP_DEFLATED
                if name == "manifest.json":
                    archive.writestr(entry, manifest)
                    continue
                entry.file_size = files[name].stat().st_size
                with files[name].open("rb") as source, archive.open(entry, "w") as member:
                    shutil.copyfileobj(source, member)
        file.flush()
        os.fsync(file.fileno())


def _write_folder(path: Path, manifest: str, files: Mapping[str, Path]) -> None:
    path.mkdir()
    (path / "manifest.json").write_text(manifest)
    for name, source in files.items():
        shutil.copyfile(source, path / name)
    for member in path.iterdir():
        with member.open("rb") as file:
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
    except (OSError, KeyError, ValueError):
        return False
    return isinstance(found, dict) and {"format", "files"} <= found.keys()
