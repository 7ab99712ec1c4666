"""A kit of candidates for a board that is not connected, and the results it brings back.

A kit is an archive: programs, their constants, and run.sh, which measures all of them and writes
one JSON file. Kit and results name what they are made of; neither is taken in if it was damaged or
belongs to other candidates.
"""

import gzip
import hashlib
import io
import json
import tarfile
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tvm

from bnn_compiler import families
from bnn_compiler.deploy.cpu.trial import TrialProgram
from bnn_compiler.device import program
from bnn_compiler.device.measure import DEFAULT, read
from bnn_compiler.errors import DeviceError
from bnn_compiler.files import check_writable, replace_bytes
from bnn_compiler.kernels.point import Point
from bnn_compiler.kernels.task import Task
from bnn_compiler.target import Target
from bnn_compiler.tune import harness, journal
from bnn_compiler.tune.journal import Trial
from bnn_compiler.tune.workers import BUILD_SECONDS, build, cores, pool
from bnn_compiler.tune.workshop import Judge

#: Of the kit's manifest and its results.
_FORMAT = 1
#: Multiply-accumulates a second that no board reaches.
_FASTEST = 1e14
#: Candidates built between two reports of progress.
_BATCH = 16
#: Told how many candidates are built, of how many.
Tell = Callable[[int, int], None]


@dataclass(frozen=True)
class Kit:
    """What was written: its identifier, candidates, those that could not be built, bytes."""

    id: str
    path: Path
    candidates: int
    failed: int
    bytes: int


@dataclass(frozen=True)
class Results:
    """What a board measured: its name, and a trial for each candidate."""

    board: str
    trials: list[Trial]


def export(
    points: list[tuple[Task, Point]], target: Target, path: Path, tell: Tell = lambda n, of: None
) -> Kit:
    """Build the candidates and write the archive, compressed if ``path`` ends in gz.

    Raises BuildError if nothing here can link for ``target``, DeviceError if no candidate could be
    built or ``path`` cannot be written.
    """
    with tempfile.TemporaryDirectory(prefix="bnnc-kit-") as folder:
        built = _build(points, target, Path(folder), tell)
        if not built:
            raise DeviceError(f"none of {len(points)} candidates could be built for {target.name}")
        files = _files(built, target)
        identifier = json.loads(files["manifest.json"])["kit"]
        data = _archive(files, f"bnn-kit-{identifier}")
        if path.suffix in (".gz", ".tgz"):
            data = gzip.compress(data, mtime=0)
        try:
            replace_bytes(path, data)
        except OSError as e:
            raise DeviceError(f"cannot write {path}: {e}") from e
    return Kit(identifier, path, len(built), len(points) - len(built), len(data))


def check_output(path: Path) -> None:
    """Raise DeviceError now if no kit could be written to ``path`` later."""
    if path.is_dir():
        raise DeviceError(f"{path} is a folder; name a file for the kit")
    try:
        check_writable(path)
    except OSError as e:
        raise DeviceError(f"cannot write {path}: {e}") from e


def _build(
    points: list[tuple[Task, Point]], target: Target, folder: Path, tell: Tell
) -> list[tuple[Task, Point, TrialProgram]]:
    built = []
    with pool(cores(), BUILD_SECONDS) as processes:
        for start in range(0, len(points), _BATCH):
            some = points[start : start + _BATCH]
            stems = [folder / f"candidate{start + i}" for i in range(len(some))]
            found = build(some, target, stems, processes, static=True)
            built += [(*one, p) for one, (p, _) in zip(some, found, strict=True) if p is not None]
            tell(min(start + _BATCH, len(points)), len(points))
    return built


def _files(built: list[tuple[Task, Point, TrialProgram]], target: Target) -> dict[str, bytes]:
    """Everything in the kit by its path there."""
    arguments = " ".join(DEFAULT.arguments())
    files: dict[str, bytes] = {}
    lines = []
    for number, (_, _, one) in enumerate(built):
        constants = one.constants.read_bytes()
        # Schedules that lay the weights out in the same way share them.
        name = hashlib.sha256(constants).hexdigest()[:16]
        files[f"constants/{name}"] = constants
        files[f"programs/{number}"] = one.path.read_bytes()
        lines.append(f"{number} {name} {arguments}\n")
    files["candidates.txt"] = "".join(lines).encode()
    files["run.sh"] = (program.HERE / "run.sh").read_bytes()
    content = {
        "arch": target.arch,
        "format": _FORMAT,
        "target": target.name,
        "machine": journal.describe(target, ""),
        "code": journal.code(),
        "tvm": tvm.__version__,
        "candidates": [
            {
                "task": task.as_dict(),
                "point": point.as_dict(),
                "kernel": families.digest(families.function(task, point), target),
            }
            for task, point, _ in built
        ],
    }
    # On one line, the identifier and arch first: run.sh reads them with sed.
    manifest = {"kit": _identifier(content), **content}
    files["manifest.json"] = json.dumps(manifest).encode() + b"\n"
    sums = [f"{hashlib.sha256(data).hexdigest()}  {name}\n" for name, data in files.items()]
    files["SHA256SUMS"] = "".join(sums).encode()
    return files


def _identifier(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def _archive(files: dict[str, bytes], folder: str) -> bytes:
    memory = io.BytesIO()
    with tarfile.open(fileobj=memory, mode="w") as archive:
        for name in sorted(files):
            entry = tarfile.TarInfo(f"{folder}/{name}")
            entry.size = len(files[name])
            entry.mode = 0o755 if name.startswith("programs/") or name == "run.sh" else 0o644
            archive.addfile(entry, io.BytesIO(files[name]))
    return memory.getvalue()


def load(path: Path, tasks: Iterable[Task], target: Target) -> Results:
    """The results that run.sh wrote, of candidates that these tasks have now.

    Raises DeviceError, saying why, for any other file.
    """
    manifest, lines = _parse(path)
    try:
        return _checked(path, manifest, lines, tasks, target)
    except (ValueError, KeyError, TypeError, IndexError, AttributeError) as e:
        raise DeviceError(f"{path} is not what run.sh of a kit writes: {e!r}") from e


def _checked(
    path: Path,
    manifest: dict[str, Any],
    lines: list[dict[str, Any]],
    tasks: Iterable[Task],
    target: Target,
) -> Results:
    if manifest["format"] != _FORMAT:
        raise DeviceError(
            f"{path} is of a kit of format {manifest['format']}, and this bnn_compiler makes and"
            f" reads {_FORMAT}: export a new one"
        )
    if manifest["target"] != target.name or manifest["machine"] != journal.describe(target, ""):
        raise DeviceError(f"{path} was measured for target {manifest['target']}, as it was then")
    if manifest["code"] != journal.code():
        raise DeviceError(
            f"{path} is of a kit that other kernels or another TVM made ({manifest['tvm']}): export"
            " a new one"
        )
    known = {t.key: t for t in tasks}
    pairs = []
    checked: set[str] = set()
    for entry in manifest["candidates"]:
        task, point = Task.from_dict(entry["task"]), families.point_of(entry["point"])
        if task.key not in known:
            raise DeviceError(f"{path} is of another network: this one has no kernel {task}")
        # Equal code makes equal kernels; one of each task shows that nothing else has changed.
        if (
            task.key not in checked
            and families.digest(families.function(task, point), target) != entry["kernel"]
        ):
            raise DeviceError(f"{path}: the kernel {task} has changed since: export a new kit")
        checked.add(task.key)
        pairs.append((known[task.key], point))
    return Results(str(lines[0]["board"]), _trials(path, pairs, lines[1:]))


def _parse(path: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The kit's manifest and the lines of the board's log; both are whole."""
    try:
        text = path.read_text()
        data = json.loads(text)
        manifest, lines, told = data["manifest"], data["lines"], data["sha256"]
        content = {k: v for k, v in manifest.items() if k != "kit"}
        kits = {manifest["kit"], lines[0]["kit"], _identifier(content)}
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


def _trials(
    path: Path, pairs: list[tuple[Task, Point]], lines: list[dict[str, Any]]
) -> list[Trial]:
    """A trial for each line. The first measurement of a task says what it computes."""
    trials = []
    judge = Judge()
    for line in sorted(lines, key=lambda one: int(one["candidate"])):
        task, point = pairs[line["candidate"]]
        outcome = read(int(line["code"]), json.dumps(line["output"]))
        found = outcome.found
        if found is not None and found.name != harness.name_of(task):
            raise DeviceError(f"{path}: candidate {line['candidate']} measured another kernel")
        if found is not None and min(found.seconds) * _FASTEST < task.work.macs:
            raise DeviceError(f"{path}: no board computes candidate {line['candidate']} so fast")
        if found is not None and max(found.seconds) > DEFAULT.limit:
            raise DeviceError(
                f"{path}: candidate {line['candidate']} took longer than the {DEFAULT.limit} s"
                " after which it is stopped"
            )
        trials.append(judge.trial(task, point, outcome))
    return trials
