"""A kit of candidates for a board that is not connected, and the results it brings back.

A kit is an archive (device/kit.py). Results are not taken in if they were damaged or belong to
other candidates.
"""

import gzip
import json
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tvm

from bnn_compiler import families
from bnn_compiler.deploy.cpu.trial import TrialProgram
from bnn_compiler.device import kit
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
#: Multiply-accumulates a second that no board reaches, by [target] kind.
_FASTEST = {"llvm": 1e14, "cuda": 1e17}
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
        programs = [one for _, _, one in built]
        identifier, files = kit.pack(_content(built, target), target.arch, programs, DEFAULT)
        data = kit.archive(files, f"bnn-kit-{identifier}")
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


def _content(built: list[tuple[Task, Point, TrialProgram]], target: Target) -> dict[str, Any]:
    """What the manifest says."""
    return {
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


def load(path: Path, tasks: Iterable[Task], target: Target) -> Results:
    """The results that run.sh wrote, of candidates that these tasks have now.

    Raises DeviceError, saying why, for any other file.
    """
    manifest, lines = kit.parse(path)
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
    fastest = _FASTEST[target.hardware.kind]
    return Results(str(lines[0]["board"]), _trials(path, pairs, lines[1:], fastest))


def _trials(
    path: Path, pairs: list[tuple[Task, Point]], lines: list[dict[str, Any]], fastest: float
) -> list[Trial]:
    """A trial for each line. The first measurement of a task says what it computes.

    More than ``fastest`` multiply-accumulates a second are no measurement.
    """
    trials = []
    judge = Judge()
    for line in sorted(lines, key=lambda one: int(one["candidate"])):
        task, point = pairs[line["candidate"]]
        outcome = read(int(line["code"]), json.dumps(line["output"]))
        found = outcome.found
        if found is not None and found.name != harness.name_of(task):
            raise DeviceError(f"{path}: candidate {line['candidate']} measured another kernel")
        if found is not None and min(found.seconds) * fastest < task.work.macs:
            raise DeviceError(f"{path}: no board computes candidate {line['candidate']} so fast")
        if found is not None and max(found.seconds) > DEFAULT.limit:
            raise DeviceError(
                f"{path}: candidate {line['candidate']} took longer than the {DEFAULT.limit} s"
                " after which it is stopped"
            )
        trials.append(judge.trial(task, point, outcome))
    return trials
