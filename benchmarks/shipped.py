"""Whether anything that is shipped is slower than the rule here: `python -m benchmarks.shipped`.

For the kernel of every record of the targets that this CPU runs, what a compilation on it picks
takes turns with the rule's schedule. Programs are built first, in FOLDER, and are found there
again: `--build` stops then, so that a machine need be left alone for the minutes of measuring only.
Exit code 1 where a pick is slower by more than TOLERANCE. `--mend` measures those once more, and
puts the rule's schedule into the records of this CPU where that is faster again.
"""

import argparse
import math
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from benchmarks import machine, report
from bnn_compiler import families
from bnn_compiler import target as targets
from bnn_compiler.cost import cpus, records
from bnn_compiler.cost.pick import Choice, Schedules
from bnn_compiler.deploy.cpu.trial import TrialProgram
from bnn_compiler.device.measure import Plan, run_here
from bnn_compiler.errors import DeviceError
from bnn_compiler.kernels.point import Point
from bnn_compiler.kernels.task import Task
from bnn_compiler.runtime import cpu
from bnn_compiler.target import Target
from bnn_compiler.tune import harness

#: Times a pick takes of the rule's before it counts as slower.
TOLERANCE = 1.03
_TURN = Plan(repeats=6)


@dataclass(frozen=True)
class Compared:
    """A kernel whose pick is not the rule's; least microseconds of both."""

    target: str
    kernel: str
    source: str
    picked_us: float
    rule_us: float

    @property
    def ratio(self) -> float:
        return self.picked_us / self.rule_us


def picks(device: Target, cpu_name: str | None = None) -> tuple[int, list[Choice]]:
    """How many kernels have records, and the picks of those that are not the rule's."""
    known = Schedules.load(device, cpu=cpu_name)
    tasks = list(dict.fromkeys(r.task for r in records.read(records.shipped(device)).values()))
    found = known.pick_all(tasks)
    return len(tasks), [c for c in found if c.point != families.rule(c.task, device.hardware)]


def built(folder: Path, device: Target, task: Task, point: Point) -> TrialProgram:
    """The program of a kernel, made once."""
    words = "_".join(str(v) for v in point.as_dict().values())
    stem = folder / f"{device.name}-{harness.name_of(task)}-{words}"
    found = list(folder.glob(f"{stem.name}.run"))
    if found:
        return TrialProgram(found[0])
    return harness.build(families.function(task, point), task, point, device, stem)


def compare(folder: Path, device: Target, choices: Sequence[Choice], rounds: int) -> list[Compared]:
    """In turns. Raises DeviceError for kernels that fail or compute different results."""
    rows = []
    for choice in choices:
        task, points = choice.task, (choice.point, families.rule(choice.task, device.hardware))
        programs = [built(folder, device, task, p) for p in points]
        least, digests = [math.inf, math.inf], set()
        for number in range(rounds):
            for which in (0, 1) if number % 2 else (1, 0):
                outcome = run_here(programs[which], _TURN)
                if outcome.found is None:
                    raise DeviceError(f"{task} by {points[which]}: {outcome.error}")
                least[which] = min(least[which], *outcome.found.seconds)
                digests.add(outcome.found.digest)
        if len(digests) > 1:
            raise DeviceError(f"{task}: kernels compute {len(digests)} different results")
        us = [1e6 * s for s in least]
        rows.append(Compared(device.name, str(task), choice.source, *us))
    return rows


def mend(folder: Path, device: Target, slower: Sequence[Choice], rounds: int) -> int:
    """Records of this CPU become the rule's where it is faster again; how many did."""
    path = records.shipped(device)
    known, changed = records.read(path), {}
    for choice, row in zip(slower, compare(folder, device, slower, rounds), strict=True):
        if row.ratio <= TOLERANCE:
            continue
        for key, record in known.items():
            if record.cpu != cpus.here() or record.task.whole() != choice.task.whole():
                continue
            rule = families.rule(record.task, device.hardware)
            digest = families.digest(families.function(record.task, rule), device)
            seconds = 1e-6 * row.rule_us
            changed[key] = replace(
                record, point=rule, seconds=seconds, rule_seconds=seconds, kernel=digest
            )
    records.write(path, known | changed)
    return len(changed)


def table(rows: Sequence[Compared], counts: dict[str, int], mended: dict[str, int]) -> str:
    """Of each target how many are what they are, those that are slower, and what became of them."""
    lines = [
        "| target | kernels with records | picks beside the rule | of its time, geometric mean"
        " | slowest | slower than the rule |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for name, count in counts.items():
        ratios = [r.ratio for r in rows if r.target == name] or [1.0]
        mean = math.exp(sum(map(math.log, ratios)) / len(ratios))
        slower = sum(r > TOLERANCE for r in ratios)
        many = sum(r.target == name for r in rows)
        lines.append(f"| {name} | {count} | {many} | {mean:.2f} | {max(ratios):.2f} | {slower} |")
    worse = [r for r in rows if r.ratio > TOLERANCE]
    lines += [
        f"\n{r.target}: {r.kernel}, by a {r.source}: {r.picked_us:.1f} us, rule {r.rule_us:.1f}"
        for r in worse
    ]
    for name, count in mended.items():
        lines.append(f"\n{name}: {count} were slower again, and are the rule's now")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description="Shipped schedules against the rule.")
    parser.add_argument("--targets", nargs="+", help="default: all with records that run here")
    parser.add_argument("--folder", type=Path, help="where programs are kept")
    parser.add_argument("--build", action="store_true", help="build only")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--mend", action="store_true", help="replace records that are slower")
    parser.add_argument("--name", default="shipped", help="name of the result files")
    options = parser.parse_args()
    names = options.targets or [
        n
        for n in targets.names("llvm")
        if records.shipped(targets.load(n)).exists()
        and set(targets.load(n).features) <= cpu.features()
    ]
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        folder.mkdir(exist_ok=True)
        work = {n: picks(targets.load(n)) for n in names}
        for name, (_, choices) in work.items():
            device = targets.load(name)
            for c in choices:
                built(folder, device, c.task, c.point)
                built(folder, device, c.task, families.rule(c.task, device.hardware))
        if options.build:
            return
        described, core = machine.describe(), machine.pin(None)
        rows: list[Compared] = []
        mended: dict[str, int] = {}
        with machine.LoadMeter() as meter:
            for name, (_, choices) in work.items():
                device = targets.load(name)
                found = compare(folder, device, choices, options.rounds)
                rows += found
                if options.mend:
                    slow = [c for c, r in zip(choices, found, strict=True) if r.ratio > TOLERANCE]
                    mended[name] = mend(folder, device, slow, options.rounds)
    path = report.write(
        options.name,
        table(rows, {n: count for n, (count, _) in work.items()}, mended),
        report.Setting(described, core, meter.load),
        options={**vars(options), "folder": None},
        rows=[asdict(r) for r in rows],
    )
    print(path.read_text())
    sys.exit(any(r.ratio > TOLERANCE for r in rows))


if __name__ == "__main__":
    main()
