"""The files of an artifact, checked before anything of them is used."""

import hashlib
import json
import zipfile
from pathlib import Path, PurePosixPath
from typing import Any

from bnn_compiler.errors import ArtifactError
from bnn_compiler.runtime import cpu

FORMAT = 1
#: Keys of a manifest and the types of their values.
_KEYS: dict[str, type] = {
    "format": int,
    "name": str,
    "compiler": str,
    "target": dict,
    "inputs": list,
    "outputs": list,
    "workspace_bytes": int,
    "steps": list,
    "buffers": list,
    "files": dict,
}


def read(path: Path) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Manifest and files of a folder or zip. Raises ArtifactError for anything else."""
    if path.is_dir():
        members = {p.name: p.read_bytes() for p in path.iterdir() if p.is_file()}
    elif path.is_file():
        members = _unzip(path)
    else:
        raise ArtifactError(f"no artifact {path}")
    if "manifest.json" not in members:
        raise ArtifactError(f"{path} is not an artifact: it has no manifest.json")
    manifest = _manifest(path, members.pop("manifest.json"))
    return manifest, {name: _checked(path, members, name, manifest) for name in manifest["files"]}


def _unzip(path: Path) -> dict[str, bytes]:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            for name in names:
                if PurePosixPath(name).name != name:
                    raise ArtifactError(f"{path} is not an artifact: it holds {name!r}")
            return {name: archive.read(name) for name in names}
    except (zipfile.BadZipFile, OSError, EOFError, NotImplementedError, ValueError) as e:
        raise ArtifactError(f"{path} is damaged or no artifact: {e}") from e
    except zipfile.zlib.error as e:  # type: ignore[attr-defined]
        raise ArtifactError(f"{path} is damaged: {e}") from e


def _manifest(path: Path, data: bytes) -> dict[str, Any]:
    try:
        manifest = json.loads(data)
    except ValueError as e:
        raise ArtifactError(f"{path}: manifest.json is damaged: {e}") from e
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        found = manifest.get("format") if isinstance(manifest, dict) else None
        raise ArtifactError(
            f"{path} has format {found!r}, this version reads {FORMAT}; compile it again"
        )
    for key, kind in _KEYS.items():
        if not isinstance(manifest.get(key), kind):
            raise ArtifactError(f"{path}: manifest.json has no valid {key!r}")
    if not str(manifest["name"]).isidentifier():
        raise ArtifactError(f"{path}: manifest.json has no valid 'name'")
    return manifest


def _checked(path: Path, members: dict[str, bytes], name: str, manifest: dict[str, Any]) -> bytes:
    if name not in members:
        raise ArtifactError(f"{path}: {name} is missing")
    wanted = manifest["files"][name]
    if not isinstance(wanted, dict) or hashlib.sha256(members[name]).hexdigest() != wanted.get(
        "sha256"
    ):
        raise ArtifactError(f"{path}: {name} is damaged (its SHA-256 differs from the manifest's)")
    return members[name]


def check_cpu(path: Path, manifest: dict[str, Any]) -> None:
    """Raise ArtifactError if this CPU cannot run the artifact."""
    target = manifest["target"]
    if target.get("arch") != cpu.machine():
        raise ArtifactError(
            f"{path} is for {target.get('arch')}, this machine is {cpu.machine()}; compile it with"
            " --target native here, or run it with --emulate"
        )
    lacking = sorted(set(target.get("features", [])) - cpu.features())
    if lacking:
        raise ArtifactError(
            f"{path} needs {', '.join(lacking)}, which this CPU lacks; compile it with --target"
            " native here"
        )
