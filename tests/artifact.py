"""Artifacts changed after they were compiled, with every hash outside the library right."""

import io
import json
import zipfile

from bnn_compiler.runtime import files, seal


def members(path):
    """The files of an artifact in one file."""
    with zipfile.ZipFile(path) as archive:
        return {n: archive.read(n) for n in archive.namelist()}


def write(path, content, sealed=True):
    """A zip of ``content``, a mapping or (name, bytes) pairs, with its seal."""
    memory = io.BytesIO()
    pairs = sorted(content.items()) if isinstance(content, dict) else content
    with zipfile.ZipFile(memory, "w") as archive:
        archive.comment = files.blank_comment() if sealed else b""
        for name, data in pairs:
            archive.writestr(name, data)
    path.write_bytes(files.sealed(memory.getvalue()) if sealed else memory.getvalue())
    return path


def edited(content, change):
    """``content`` with ``change(manifest)`` and the hashes of its files made again."""
    found = json.loads(content["manifest.json"])
    change(found)
    listed = found.get("files")
    for name, listing in listed.items() if isinstance(listed, dict) else ():
        if name in content and isinstance(listing, dict):
            listing.update(seal.entry(content[name]))
    return {**content, "manifest.json": seal.dumps(found)}
