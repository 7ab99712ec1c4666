"""The static library of an artifact, on disk for a linker.

An artifact in one file stores the weights once, in NAME.so. Its NAME.a is completed from there.
"""

from pathlib import Path

from bnn_compiler.deploy.cpu import glue
from bnn_compiler.errors import ArtifactError
from bnn_compiler.runtime.files import Files
from bnn_compiler.target import ARCHITECTURES


def arch_of(found: Files, purpose: str) -> str:
    """The architecture to link for. Raises ArtifactError if nothing here can link for it."""
    target = found.description.target
    if target.kind != "llvm":
        raise ArtifactError(f"{found.path} is for {target.name}: it cannot be {purpose}")
    arch = target.arch
    if arch not in ARCHITECTURES:
        raise ArtifactError(f"{found.path} is for {arch}: it cannot be {purpose}")
    return arch


def unpack(found: Files, folder: Path) -> list[Path]:
    """Write to ``folder`` what a program is linked with: these files, with ``folder`` current."""
    manifest = found.description
    name = manifest.name
    archive, library, source = (folder / f"{name}{e}" for e in (".a", ".so", "-weights.S"))
    archive.write_bytes(found.archive)
    if manifest.static_weights:
        return [archive]
    library.write_bytes(found.library)
    start, size = manifest.weights_offset, manifest.weights_bytes
    source.write_text(glue.weights_assembly(name, library.name, start, size))
    return [source, archive]
