"""The files of an artifact, checked before anything of them is used.

One file is a zip whose comment ends in the SHA-256 of every byte before it. In a folder only the
files that the manifest names are looked at.
"""

import hashlib
import io
import json
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bnn_compiler.errors import ArtifactError
from bnn_compiler.runtime import cpu, elf, seal
from bnn_compiler.runtime.manifest import FORMAT, Manifest, TargetEntry

_MANIFEST = "manifest.json"
_COMMENT = b"bnn_compiler artifact, SHA-256 "
_HEX = 64


@dataclass(frozen=True)
class Files:
    """A checked artifact: its manifest, its other files by name, the bytes of all on disk.

    ``description`` is the manifest with types.
    """

    path: Path
    manifest: dict[str, Any]
    description: Manifest
    members: dict[str, bytes]
    size: int

    @property
    def library(self) -> bytes:
        """NAME.so."""
        return self.members[f"{self.description.name}.so"]

    @property
    def archive(self) -> bytes:
        """NAME.a; without the weights unless the manifest's ``static_weights`` says otherwise."""
        return self.members[f"{self.description.name}.a"]


def read(path: Path) -> Files:
    """Manifest and files of a folder or zip.

    Raises ArtifactError for anything else, for another format, and if any byte was changed.
    """
    try:
        if path.is_dir():
            return _read_folder(path)
        if path.is_file():
            return _read_zip(path, path.read_bytes())
    except OSError as e:
        raise ArtifactError(f"cannot read {path}: {e}") from e
    raise ArtifactError(f"no artifact {path}")


def sealed(archive: bytes) -> bytes:
    """``archive``, a zip that ends in ``blank_comment``, with its SHA-256 there."""
    body = archive[:-_HEX]
    return body + hashlib.sha256(body).hexdigest().encode()


def blank_comment() -> bytes:
    """The comment of a zip before it is sealed."""
    return _COMMENT + b"0" * _HEX


def check_cpu(path: Path, target: TargetEntry) -> None:
    """Raise ArtifactError if this CPU cannot run the artifact."""
    if target.arch != cpu.machine():
        raise ArtifactError(
            f"{path} is for {target.arch}, this machine is {cpu.machine()}; compile it with"
            " --target native here, or run it with --emulate"
        )
    lacking = sorted(set(target.features) - cpu.features())
    if lacking:
        tiles = any(flag.startswith("amx_") for flag in lacking)
        system = " or its system does not offer (Linux does from 5.16 on)" if tiles else ""
        raise ArtifactError(
            f"{path} needs {', '.join(lacking)}, which this CPU lacks{system}; compile it with"
            " --target native here"
        )


def _read_folder(path: Path) -> Files:
    file = path / _MANIFEST
    if not file.is_file():
        raise ArtifactError(f"{path} is not an artifact: it has no {_MANIFEST}")
    data = file.read_bytes()
    found = _parse(path, data)

    def member(name: str) -> bytes:
        if not (path / name).is_file():
            raise ArtifactError(f"{path}: {name} is missing")
        return (path / name).read_bytes()

    return _checked(path, data, found, member)


def _read_zip(path: Path, data: bytes) -> Files:
    body = memoryview(data)[:-_HEX]
    if data[-_HEX:] != hashlib.sha256(body).hexdigest().encode():
        raise _unsealed(path, data)
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            held = archive.namelist()
            if _MANIFEST not in held:
                raise ArtifactError(f"{path} is not an artifact: it has no {_MANIFEST}")
            text = archive.read(_MANIFEST)
            found = _parse(path, text)
            wanted = sorted([*seal.names(found["name"]), _MANIFEST])
            for name in wanted:
                if name not in held:
                    raise ArtifactError(f"{path}: {name} is missing")
            if held != wanted:
                raise ArtifactError(f"{path} is not an artifact: it holds {held}")
            files = _checked(path, text, found, archive.read)
    except ArtifactError:
        raise
    # A zip can be damaged in more ways than zipfile has errors for.
    except Exception as e:
        raise ArtifactError(f"{path} is damaged or no artifact: {e}") from e
    return replace(files, size=len(data))


def _unsealed(path: Path, data: bytes) -> ArtifactError:
    """Why a file that does not end in its SHA-256 is no artifact."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            known = _MANIFEST in archive.namelist()
            found = json.loads(archive.read(_MANIFEST)) if known else None
    except Exception as e:  # as above
        return ArtifactError(f"{path} is damaged or no artifact: {e}")
    if not known:
        return ArtifactError(f"{path} is not an artifact: it has no {_MANIFEST}")
    version = found.get("format") if isinstance(found, dict) else None
    if version != FORMAT:
        return _other_format(path, version)
    return ArtifactError(
        f"{path} is damaged: it was changed after it was written (its SHA-256 differs)"
    )


def _other_format(path: Path, version: object) -> ArtifactError:
    return ArtifactError(
        f"{path} has format {version!r}, this version reads {FORMAT}; compile it again"
    )


def _parse(path: Path, data: bytes) -> dict[str, Any]:
    """A manifest of this format with a name. Raises ArtifactError."""
    try:
        found = json.loads(data)
    except (ValueError, RecursionError) as e:
        raise ArtifactError(f"{path}: {_MANIFEST} is damaged: {e}") from e
    version = found.get("format") if isinstance(found, dict) else None
    if version != FORMAT:
        raise _other_format(path, version)
    name = found.get("name")
    if not (isinstance(name, str) and name.isascii() and name.isidentifier()):
        raise ArtifactError(f"{path}: {_MANIFEST} has no valid 'name'")
    return dict(found)


def _checked(
    path: Path, data: bytes, found: dict[str, Any], member: Callable[[str], bytes]
) -> Files:
    """The artifact, if its files are those of the manifest and its library was made with it."""
    name = found["name"]
    members = {n: member(n) for n in seal.names(name)}
    listed = found.get("files")
    for file, content in members.items():
        wanted = listed.get(file) if isinstance(listed, dict) else None
        if wanted != seal.entry(content):
            raise ArtifactError(
                f"{path}: {file} is damaged (its SHA-256 or size is not the manifest's)"
            )
    changed = ArtifactError(
        f"{path}: {_MANIFEST} was changed: it is not what {name}.so was compiled with"
    )
    library = members[f"{name}.so"]
    try:
        digest = seal.digest(found, members)
        held = elf.exported(library, f"{name}_info")
        if held[: len(digest) // 2] != bytes.fromhex(digest):
            raise changed
        # From here on what the manifest says is the compiler's.
        description = _described(path, found)
        for program in description.programs:
            held = elf.exported(library, f"{program.name}_info")
            if held != seal.info(program, digest):
                raise ArtifactError(f"{path}: {name}.so has other sizes than the manifest")
        seal.weights(description, library)
        if seal.dumps(seal.complete(found, members, description.weights_offset)) != data:
            raise changed
    except RecursionError as e:
        raise changed from e
    except ValueError as e:
        raise ArtifactError(f"{path}: {name}.so is damaged: {e}") from e
    if bytes.fromhex(digest) not in members[f"{name}.a"]:
        raise ArtifactError(f"{path}: {name}.a was compiled with another manifest")
    size = len(data) + sum(map(len, members.values()))
    return Files(path, found, description, members, size)


def _described(path: Path, found: dict[str, Any]) -> Manifest:
    try:
        return Manifest.of(found)
    except ValueError as e:
        raise ArtifactError(f"{path}: {_MANIFEST} has {e}") from e
