"""The manifest as the reader and the writer of an artifact agree on it.

It is a JSON object. What is known before the library is linked is *sealed*: its SHA-256 is compiled
into the library as NAME_info, with the sizes that a run depends on. The rest comes last in the
object and is what the reader finds out again from the files themselves:

- ``code_bytes``: the machine code of NAME.so
- ``weights_offset``: where the weights lie in NAME.so
- ``files``: SHA-256 and size of each; those of the header and the example are sealed too
"""

import hashlib
import json
import math
import struct
from collections.abc import Mapping
from typing import Any

from bnn_compiler.runtime import elf

#: The version of the artifact's format that this package writes and reads.
FORMAT = 2
_LATE = ("code_bytes", "weights_offset", "files")
_BYTES = {"float32": 4, "uint8": 1}


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


def info(manifest: Mapping[str, Any], digest: str) -> bytes:
    """What NAME_info of the library must hold."""
    tensors = [*manifest["inputs"], *manifest["outputs"]]
    numbers = [
        manifest["workspace_bytes"],
        *(len(manifest[k]) for k in ("steps", "inputs", "outputs")),
        *(math.prod(t["shape"]) * _BYTES[t["dtype"]] for t in tensors),
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


def weights(manifest: Mapping[str, Any], library: bytes) -> bytes:
    """The weights in ``library``. Raises ValueError if they are not where the manifest says."""
    start, size = manifest.get("weights_offset"), manifest["weights_bytes"]
    if type(start) is int and 0 <= start <= len(library):
        found = library[start : start + size]
        if hashlib.sha256(found).hexdigest() == manifest["weights_sha256"]:
            return found
    raise ValueError(f"its weights are not at {start!r}")
