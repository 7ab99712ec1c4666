"""Tiles against other kernels, layer by layer, on a CPU with AMX: `python -m benchmarks.amx`.

The binary layers of Bi-Real-18, on tiles and by popcount with the schedules that a compilation
takes, and its other layers in int8, on tiles and by dot products of vectors. Of the schedules on
tiles POINTS at random and the rule's are measured once; the best of them, that with and without
its epilogue overlapped, the rule's and the other kernel's then take turns. All have to compute the
same. Writes results/<name>.md and .json.
"""

import argparse
import statistics
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks import machine, report
from benchmarks.timing import Timing
from bnn_compiler import families, zoo
from bnn_compiler import target as targets
from bnn_compiler.cost.pick import Schedules
from bnn_compiler.deploy.cpu.trial import TrialProgram
from bnn_compiler.device.measure import Plan, run_here
from bnn_compiler.errors import DeviceError
from bnn_compiler.kernels.cpu.amx import Tiles
from bnn_compiler.kernels.cpu.tiles import tile_rows
from bnn_compiler.kernels.point import Point
from bnn_compiler.kernels.task import Task
from bnn_compiler.network import Network
from bnn_compiler.options import Options
from bnn_compiler.plan import plan
from bnn_compiler.quantization import calibrate
from bnn_compiler.target import Target
from bnn_compiler.tune import harness

_SEARCH, _TURN = Plan(repeats=4), Plan(repeats=8)


@dataclass(frozen=True)
class Layer:
    """One kernel of the network, there `times`; times in us, of the best schedules.

    "Apart" and "overlapped" are of the best on tiles with its epilogue behind the sums and between
    those of the next tiles; the same number where a kernel has no next tiles.
    """

    layer: str
    times: int
    other: dict[str, Any]
    tiles: dict[str, Any]
    other_median_us: float
    other_minimum_us: float
    rule_minimum_us: float
    tiles_median_us: float
    tiles_minimum_us: float
    apart_minimum_us: float
    overlapped_minimum_us: float

    @property
    def ratio(self) -> float:
        """Tiles' least time for that of the other kernel."""
        return self.tiles_minimum_us / self.other_minimum_us


def layers(size: int) -> dict[Task, int]:
    """The convolutions of Bi-Real-18 on `size` x `size` pixels, with the others in int8."""
    model, x = zoo.get("birealnet18")(), torch.randn(1, 3, size, size)
    zoo.randomize(model, x)
    network, options = (
        Network.of(model, (x,)),
        Options.of("exact", "float32", (0.0,), (1.0,), False),
    )
    int8 = calibrate(network, options, [x])
    graph = network.fused(replace(options, int8=int8.ranges))
    return {t: n for t, n in plan.plan(graph).tasks.items() if isinstance(t, Task)}


def on_tiles(task: Task, target: Target) -> tuple[Tiles, list[Tiles]]:
    """The rule's schedule and all others; none if there are no such kernels of `task`."""
    found = [f for f in families.fitting(task, target.hardware) if f.name.startswith("amx")]
    if not found:
        raise LookupError(f"no kernel on tiles for {task}")
    rule: Tiles = found[0].rule(task, target.hardware)
    return rule, [p for p in found[0].points(task, target.hardware) if p != rule]


def compare(
    task: Task, times: int, target: Target, other: Point, points: int, rounds: int
) -> Layer:
    """Find a schedule on tiles and measure it in turns with the rule's and the other kernel.

    Raises DeviceError for a program that fails or kernels that differ.
    """
    rule, more = on_tiles(task, target)
    chosen = np.random.default_rng(0).permutation(len(more))[:points]
    tried = [rule, *(more[i] for i in chosen)]
    with tempfile.TemporaryDirectory() as folder:
        programs: dict[Point, TrialProgram] = {}

        def built(point: Point) -> TrialProgram:
            stem = Path(folder) / str(len(programs))
            return harness.build(families.function(task, point), task, point, target, stem)

        for one in (other, *tried):
            programs[one] = built(one)
        results: set[str] = set()

        def seconds(point: Point, how: Plan) -> tuple[float, ...]:
            outcome = run_here(programs[point], how)
            if outcome.found is None:
                raise DeviceError(f"{task} by {point}: {outcome.error}")
            results.add(outcome.found.digest)
            return outcome.found.seconds

        once = {p: min(seconds(p, _SEARCH)) for p in tried}
        best = min(once, key=once.__getitem__)
        behind, between = _both(best, [rule, *more])
        turns = (other, rule, best, behind, between)
        for one in turns:
            if one not in programs:
                programs[one] = built(one)
        bursts: dict[Point, list[tuple[float, ...]]] = {p: [] for p in turns}
        for number in range(rounds):
            order = list(bursts)
            for point in order if number % 2 else reversed(order):
                bursts[point].append(seconds(point, _TURN))
    if len(results) > 1:
        raise DeviceError(f"{task}: kernels compute {len(results)} different results")
    assert tile_rows(families.function(task, best)) > 0
    theirs, first, ours, apart, overlapped = (Timing(tuple(bursts[p])) for p in turns)
    return Layer(
        str(task),
        times,
        other.as_dict(),
        best.as_dict(),
        1e6 * theirs.median,
        1e6 * theirs.minimum,
        1e6 * first.minimum,
        1e6 * ours.median,
        1e6 * ours.minimum,
        1e6 * apart.minimum,
        1e6 * overlapped.minimum,
    )


def _both(point: Tiles, space: list[Tiles]) -> list[Tiles]:
    """``point`` with its epilogue behind the sums and between the next ones, if both exist."""
    found = [replace(point, overlap=overlap) for overlap in (False, True)]
    return [p if p in space else point for p in found]


def table(rows: Sequence[Layer]) -> str:
    """As Markdown, with the sum over the network's layers."""
    lines = [
        "| layer | times | other kernel us: median | minimum | tiles us: rule | median | minimum"
        " | epilogue apart | overlapped | schedule | tiles / other |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|---|---:|",
    ]
    for r in rows:
        point = " ".join(f"{k} {v}" for k, v in r.tiles.items() if k != "family")
        lines.append(
            f"| {r.layer} | {r.times} | {r.other_median_us:.1f} | {r.other_minimum_us:.1f}"
            f" | {r.rule_minimum_us:.1f} | {r.tiles_median_us:.1f} | {r.tiles_minimum_us:.1f}"
            f" | {r.apart_minimum_us:.1f} | {r.overlapped_minimum_us:.1f}"
            f" | {point} | {r.ratio:.2f} |"
        )
    theirs = sum(r.times * r.other_minimum_us for r in rows)
    each = sum(r.times * min(r.other_minimum_us, r.tiles_minimum_us) for r in rows)
    lines += [
        "",
        f"All layers, minima: {theirs:.0f} us without tiles, {each:.0f} us with the better kernel"
        f" for each; the median ratio is {statistics.median(r.ratio for r in rows):.2f}.",
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description="Kernels on AMX tiles against others.")
    parser.add_argument("--points", type=int, default=24, help="schedules on tiles for each layer")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--size", type=int, default=224, help="pixels")
    parser.add_argument("--core", type=int, help="core to run on (default: the last one)")
    parser.add_argument("--name", default="amx", help="name of the result files")
    options = parser.parse_args()
    described = machine.describe()
    core = machine.pin(options.core)
    target = targets.load("x86-amx")
    without = Schedules.load(targets.load(target.schedules))
    rows = []
    with machine.LoadMeter() as meter:
        for task, times in layers(options.size).items():
            if any(f.name.startswith("amx") for f in families.fitting(task, target.cpu)):
                other = without.pick(task).point
                rows.append(compare(task, times, target, other, options.points, options.rounds))
                print(table(rows[-1:]).splitlines()[2], flush=True)
    path = report.write(
        options.name,
        table(rows),
        report.Setting(described, core, meter.load),
        options=vars(options),
        rows=[asdict(r) for r in rows],
    )
    print(path.read_text())


if __name__ == "__main__":
    main()
