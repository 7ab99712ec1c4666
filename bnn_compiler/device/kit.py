"""Kits: programs that a board without a network measures alone, and the results it brings back.

A kit holds programs, their constants, and run.sh, which runs all of them and writes one JSON file.
Kit and results name what they are made of: damage shows.
"""

import hashlib
import io
import json
import tarfile
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bnn_compiler.deploy.cpu.trial import TrialProgram
from bnn_compiler.device import program
from bnn_compiler.device.measure import Plan
from bnn_compiler.errors import DeviceError


def pack(
    content: Mapping[str, Any], arch: str, programs: Sequence[TrialProgram], plan: Plan
) -> tuple[str, dict[str, bytes]]:
    """The kit's identifier, and everything in it by its path there.

    ``content`` goes into the manifest; its "candidates" are one entry for each of ``programs``.
    """
    arguments = " ".join(plan.arguments())
    files: dict[str, bytes] = {}
    lines = []
    for number, one in enumerate(programs):
        constants = one.constants.read_bytes()
        # Programs that lay their constants out in the same way share them.
        name = hashlib.sha256(constants).hexdigest()[:16]
        files[f"constants/{name}"] = constants
        files[f"programs/{number}"] = one.path.read_bytes()
        lines.append(f"{number} {name} {arguments}\n")
    files["candidates.txt"] = "".join(lines).encode()
    files["run.sh"] = (program.HERE / "run.sh").read_bytes()
    described = {"arch": arch, **content}
    # On one line, the identifier and arch first: run.sh reads them with sed.
    manifest = {"kit": identifier(described), **described}
    files["manifest.json"] = json.dumps(manifest).encode() + b"\n"
    sums = [f"{hashlib.sha256(data).hexdigest()}  {name}\n" for name, data in files.items()]
    files["SHA256SUMS"] = "".join(sums).encode()
    return manifest["kit"], files


def is_executable(name: str) -> bool:
    """Whether a file of a kit is run."""
    return name.startswith("programs/") or name == "run.sh"


def archive(files: Mapping[str, bytes], folder: str) -> bytes:
    """A tar file that unpacks to ``folder``."""
    memory = io.BytesIO()
    with tarfile.open(fileobj=memory, mode="w") as tar:
        for name in sorted(files):
            entry = tarfile.TarInfo(f"{folder}/{name}")
            entry.size = len(files[name])
            entry.mode = 0o755 if is_executable(name) else 0o644
            tar.addfile(entry, io.BytesIO(files[name]))
    return memory.getvalue()


def parse(path: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The kit's manifest and the lines of the board's log: the first is of the board, then comes
    one for each candidate. Both are whole.

    Raises DeviceError, saying why, for any other file.
    """
    try:
        text = path.read_text()
        data = json.loads(text)
        manifest, lines, told = data["manifest"], data["lines"], data["sha256"]
        content = {k: v for k, v in manifest.items() if k != "kit"}
        kits = {manifest["kit"], lines[0]["kit"], identifier(content)}
        board = lines[0]["board"]
        numbers = Counter(line["candidate"] for line in lines[1:])
    except (OSError, UnicodeDecodeError) as e:
        raise DeviceError(f"cannot read the results {path}: {e}") from e
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError) as e:
        raise DeviceError(f"{path} is cut short, or not what run.sh of a kit writes: {e!r}") from e
    # What run.sh put between '"lines": [' and ']', each line as it was written.
    written = text.partition(', "lines": [\n')[2].rpartition('\n], "sha256"')[0].split(",\n")
    if hashlib.sha256("".join(f"{line}\n" for line in written).encode()).hexdigest() != told:
        raise DeviceError(f"{path} has been edited or damaged: its checksum is another")
    if len(kits) != 1:
        raise DeviceError(f"{path} mixes results and candidates of different kits")
    if not board or numbers != Counter(range(len(manifest["candidates"]))):
        raise DeviceError(f"{path} has not one result for each candidate: run the kit to its end")
    return manifest, lines


def identifier(content: Mapping[str, Any]) -> str:
    """Of a kit, by what its manifest says besides."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]
