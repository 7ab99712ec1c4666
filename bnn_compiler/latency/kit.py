"""A calibration of a board that is not connected: a kit of programs goes there, times come back.

    export(folder) -> carry the folder there -> sh run.sh -> carry it back -> load(folder)

A kit is a folder (device/kit.py) of executables, each the reference program and some others. Unlike
a calibration under way, it cannot choose what to time next by what it knows.
"""

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from bnn_compiler import target as targets
from bnn_compiler.cost.pick import Schedules
from bnn_compiler.deploy import backend
from bnn_compiler.deploy.cpu.trial import TrialProgram
from bnn_compiler.device import kit
from bnn_compiler.device.measure import read
from bnn_compiler.errors import DeviceError, InputError
from bnn_compiler.latency import calibrate, journal, linked, making, places, programs
from bnn_compiler.latency.calibrate import Calibration
from bnn_compiler.latency.journal import Journal
from bnn_compiler.latency.kernel import Kernel
from bnn_compiler.latency.sample import Sample, kernel_from_dict, kernel_to_dict
from bnn_compiler.latency.templates import TEMPLATES, Template
from bnn_compiler.target import Target

#: Programs of a kit if nothing else is said.
PROGRAMS = 40
#: Of the manifest.
_FORMAT = 1
#: What run.sh writes if it is not told another name.
_RESULTS = "results.json"


@dataclass(frozen=True)
class Kit:
    """What was written: its identifier, its folder, programs, and bytes."""

    id: str
    path: Path
    programs: int
    bytes: int


@dataclass(frozen=True)
class Drawn:
    """A program: the network that its plan was drawn for, its kernels, and what compiling gave."""

    network: str
    plan: dict[str, int]
    kernels: tuple[Kernel, ...]
    built: Any = None


def export(
    target: str | Path,
    folder: Path,
    *,
    count: int = PROGRAMS,
    schedules: str | Path | None = None,
    templates: Sequence[Template] = TEMPLATES,
    tell: Callable[[int, int], None] = lambda built, of: None,
) -> Kit:
    """Write a kit of ``count`` programs to ``folder``, which is new.

    Another kit of the target, once this one's times are known, has other programs. Raises
    InputError for too few programs, DeviceError if ``folder`` cannot be written, BuildError if
    nothing here can build for the target.
    """
    if count < calibrate.LEAST:
        raise InputError(f"{count} programs: a model needs at least {calibrate.LEAST}")
    if folder.exists():
        raise DeviceError(f"{folder} is there already; name a new folder for the kit")
    wanted = targets.load(target)
    backend.of(wanted).check(wanted)
    known = Schedules.load(wanted, Path(schedules) if schedules else None)
    maker = making.of(wanted)
    random = Random(f"kit {_known(wanted)}")
    ahead = maker.compiled(places.reference_plan(), known, linked.AHEAD)
    variants = {t.name: t.variants() for t in templates[:count]}
    drawn = []
    for number in range(count):
        template = templates[number % len(templates)].name
        plan = variants[template].draw(random, maker.batches)
        kernels = variants[template].kernels(plan)
        base = programs.substitute(variants[template].plan, kernels, number)
        built = maker.compiled(base, known, f"timed{number}")
        drawn.append(Drawn(template, plan, kernels, built))
        tell(number + 1, count)
    return write(folder, known, ahead, drawn)


def write(folder: Path, schedules: Schedules, ahead: Any, drawn: Sequence[Drawn]) -> Kit:
    """A kit of programs that the target's Maker compiled, ``ahead`` their reference.

    Raises DeviceError if ``folder`` cannot be written, BuildError if they cannot be put together.
    """
    target, maker = schedules.target, making.of(schedules.target)
    entries: list[dict[str, Any]] = []
    made: list[TrialProgram] = []
    with tempfile.TemporaryDirectory(prefix="bnnc-kit-") as name:
        for first in range(0, len(drawn), calibrate.TURN):
            some = drawn[first : first + calibrate.TURN]
            others = [one.built for one in some]
            stem = Path(name) / str(first) / "turns"
            stem.parent.mkdir()
            made.append(maker.build(stem, ahead, others, schedules))
            entries.append(_entry(maker.identity(ahead, others), some))
        content = {
            "format": _FORMAT,
            "target": target.name,
            "code": journal.code(),
            "device": journal.describe(target, ""),
            "candidates": entries,
        }
        identifier, files = kit.pack(content, target.arch, made, linked.measuring())
    _write(folder, files)
    return Kit(identifier, folder, len(drawn), sum(map(len, files.values())))


def load(
    target: str | Path,
    results: Path,
    *,
    schedules: str | Path | None = None,
    log: str | Path | None = None,
    output: str | Path | None = None,
    prior: bool = True,
) -> Calibration:
    """Take in what a kit measured, and fit a model as ``calibrate`` does.

    ``results`` is the file that run.sh wrote, or the kit's folder with it. Raises DeviceError for
    results that were damaged or are not of a kit that this version made for ``target``,
    ScheduleError if too little could be timed.
    """
    wanted = targets.load(target)
    known = Schedules.load(wanted, Path(schedules) if schedules else None)
    board, samples = timed(wanted, results)
    start = calibrate.prior_of(known) if prior else None
    with Journal(Path(log) if log else _journal(wanted), wanted, board) as held:
        for sample in samples:
            if sample not in held.samples:
                held.add(sample)
        return calibrate.conclude(held, known, start, Path(output) if output else None)


def timed(target: Target, results: Path) -> tuple[str, list[Sample]]:
    """What the machine calls itself, and its times. Raises DeviceError, as ``load`` does."""
    path = results / _RESULTS if results.is_dir() else results
    manifest, lines = kit.parse(path)
    try:
        return _samples(path, manifest, lines, target)
    except (ValueError, KeyError, TypeError, IndexError, AttributeError) as e:
        raise DeviceError(f"{path} is not what run.sh of a calibration's kit writes: {e!r}") from e


def _samples(
    path: Path, manifest: dict[str, Any], lines: list[dict[str, Any]], target: Target
) -> tuple[str, list[Sample]]:
    """What the machine calls itself, and its times."""
    if "device" not in manifest:
        raise DeviceError(f"{path} is of a kit of `bnnc tune`, not of `bnnc calibrate`")
    if manifest["format"] != _FORMAT or manifest["code"] != journal.code():
        raise DeviceError(f"{path} is of a kit that another version made: export a new one")
    if manifest["device"] != journal.describe(target, ""):
        raise DeviceError(f"{path} was measured for target {manifest['target']}, as it was then")
    machines: set[str] = set()
    samples, errors = [], []
    for line in sorted(lines[1:], key=lambda one: int(one["candidate"])):
        entry = manifest["candidates"][line["candidate"]]
        outcome = read(int(line["code"]), json.dumps(line["output"]))
        if outcome.found is None:
            errors.append(outcome.error)
            continue
        drawn = [_read(one) for one in entry["programs"]]
        steps = [len(one.kernels) for one in drawn]
        identity, machine, times = linked.read(outcome.found, steps)
        if identity != entry["id"]:
            raise DeviceError(f"{path}: candidate {line['candidate']} measured other programs")
        machines.add(machine)
        samples += [
            Sample.timed(one.network, one.plan, one.kernels, found)
            for one, found in zip(drawn, times, strict=True)
        ]
    if not samples:
        raise DeviceError(f"{path}: no program could be timed: {errors[0]}")
    if len(machines) > 1:
        raise DeviceError(f"{path} mixes times of {' and '.join(sorted(machines))}")
    return machines.pop(), samples


def _entry(identity: str, drawn: Sequence[Drawn]) -> dict[str, Any]:
    return {
        "id": identity,
        "programs": [
            {
                "network": one.network,
                "plan": one.plan,
                "kernels": [kernel_to_dict(k) for k in one.kernels],
            }
            for one in drawn
        ],
    }


def _read(entry: dict[str, Any]) -> Drawn:
    plan = {str(k): int(v) for k, v in entry["plan"].items()}
    return Drawn(str(entry["network"]), plan, tuple(map(kernel_from_dict, entry["kernels"])))


def _journal(target: Target) -> Path:
    return calibrate.journal_path(target, "kit")


def _known(target: Target) -> int:
    """Programs of kits that are in the journal, of whatever board."""
    with Journal(_journal(target), target, "") as held:
        return len(held.samples) + held.others


def _write(folder: Path, files: dict[str, bytes]) -> None:
    """The kit's folder, in one step."""
    partial = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
    try:
        for name, data in files.items():
            path = partial / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
            path.chmod(0o755 if kit.is_executable(name) else 0o644)
        partial.rename(folder)
    except OSError as e:
        raise DeviceError(f"cannot write {folder}: {e}") from e
    finally:
        with suppress(OSError):
            shutil.rmtree(partial)
