"""What ties the files of an artifact to its library.

What is known before the library is linked is *sealed*: its SHA-256 is compiled into the library as
NAME_info, with the sizes that a run depends on. The rest comes last in the manifest and is what the
reader finds out again from the files themselves:

- ``code_bytes``: the machine code of NAME.so
- ``weights_offset``: where the weights lie in NAME.so
- ``files``: SHA-256 and size of each; those of the header and the example are sealed too

Here a manifest is its JSON object: what is sealed is text, known keys or not.
"""

import hashlib
import json
import struct
from collections.abc import Mapping
from typing import Any

from bnn_compiler.runtime import elf
from bnn_compiler.runtime.manifest import Manifest

_LATE = ("code_bytes", "weights_offset", "files")


def dumps(manifest: Mapping[str, Any]) -> bytes:
    """The one form a manifest is stored in."""
    return json.dumps(manifest, indent=1).encode()


def entry(content: bytes) -> dict[str, Any]:
    """What ``files`` says of a file."""
    return {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}


def names(name: str) -> tuple[str, ...]:
    """The files of an artifact beside its manifest, sorted."""
    return tuple(sorted((f"{name}.a", f"{name}.h", f"{name}.so", "example.c")))


def digest(manifest: Mapping[str, Any], files: Mapping[str, bytes]) -> str:
    """The SHA-256 of what is sealed; of ``files`` only the texts."""
    texts = {n: entry(files[n]) for n in (f"{manifest['name']}.h", "example.c")}
    sealed = {k: v for k, v in manifest.items() if k not in _LATE}
    return hashlib.sha256(dumps({**sealed, "files": texts})).hexdigest()


def info(manifest: Manifest, digest: str) -> bytes:
    """What NAME_info of the library must hold, for the manifest of one batch size."""
    numbers = [
        manifest.workspace_bytes,
        *(len(part) for part in (manifest.steps, manifest.inputs, manifest.outputs)),
        *(tensor.bytes for tensor in (*manifest.inputs, *manifest.outputs)),
    ]
    return bytes.fromhex(digest) + struct.pack(f"<{len(numbers)}q", *numbers)


def complete(
    manifest: Mapping[str, Any], files: Mapping[str, bytes], weights_offset: int
) -> dict[str, Any]:
    """The whole manifest. Raises ValueError if the library among ``files`` is none."""
    return {
        **{k: v for k, v in manifest.items() if k not in _LATE},
        "code_bytes": elf.code_bytes(files[f"{manifest['name']}.so"]),
        "weights_offset": weights_offset,
        "files": {n: entry(files[n]) for n in names(manifest["name"])},
    }


def weights(manifest: Manifest, library: bytes) -> bytes:
    """The weights in ``library``. Raises ValueError if they are not where the manifest says."""
    start = manifest.weights_offset
    found = library[start : start + manifest.weights_bytes]
    if start <= len(library) and hashlib.sha256(found).hexdigest() == manifest.weights_sha256:
        return found
    raise ValueError(f"its weights are not at {start!r}")
