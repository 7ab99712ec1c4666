"""What tuning and the cost model are worth on unseen layers: `python -m benchmarks.schedules`.

Each of UNSEEN, shapes no shipped record was made for, is tuned from nothing in a journal of its
own. Then three schedules take turns: the rule's, the one the shipped model picks, and the tuned.
"""

import argparse
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from benchmarks import machine, report
from benchmarks.shapes import layer
from bnn_compiler import families
from bnn_compiler import target as targets
from bnn_compiler.cost import records
from bnn_compiler.cost.pick import Schedules
from bnn_compiler.device.measure import fastest
from bnn_compiler.errors import ScheduleError
from bnn_compiler.kernels.point import Point
from bnn_compiler.kernels.task import Task
from bnn_compiler.tune import harness, tuner

#: (channels, side) of 3x3 layers.
UNSEEN = ((48, 40), (80, 48), (96, 24), (160, 20), (192, 16), (224, 12), (320, 10), (448, 8))
_ROUNDS = 5


@dataclass(frozen=True)
class Compared:
    """Least microseconds of one layer under three schedules."""

    layer: str
    rule_us: float
    model_us: float
    tuned_us: float


def compare(task: Task, schedules: Schedules, trials: int) -> Compared:
    """Tune ``task``, then measure the three in turns."""
    device = schedules.target
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        tuner.tune({task: 1}, device, journal=path / "j", schedules=path / "s.jsonl", trials=trials)
        (record,) = records.read(path / "s.jsonl").values()
        points: list[Point] = [
            families.rule(task, device.hardware),
            schedules.models[schedules.cpu].best(task),
            record.point,
        ]
        programs = [
            harness.build(families.function(task, p), task, p, device, path / str(i))
            for i, p in enumerate(points)
        ]
        rounds = [[fastest(p) for p in programs] for _ in range(_ROUNDS)]
    rule, model, tuned = (1e6 * float(v) for v in np.min(rounds, axis=0))
    return Compared(str(task), rule, model, tuned)


def table(rows: list[Compared]) -> str:
    """As Markdown, with geometric means."""
    lines = [
        "| layer | rule us | model us | tuned us | rule / tuned | model / tuned |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for r in rows:
        lines.append(
            f"| {r.layer} | {r.rule_us:.1f} | {r.model_us:.1f} | {r.tuned_us:.1f}"
            f" | {r.rule_us / r.tuned_us:.2f} | {r.model_us / r.tuned_us:.2f} |"
        )
    means = [
        float(np.exp(np.mean([np.log(getattr(r, f"{name}_us") / r.tuned_us) for r in rows])))
        for name in ("rule", "model")
    ]
    lines.append(f"| geometric mean | | | | {means[0]:.2f} | {means[1]:.2f} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description="Rule and model against tuned schedules.")
    parser.add_argument("--trials", type=int, default=48, help="for each layer")
    parser.add_argument("--target", default="native")
    parser.add_argument("--name", default="schedules", help="name of the result files")
    options = parser.parse_args()
    described = machine.describe()
    core = machine.pin(None)
    schedules = Schedules.load(targets.load(options.target))
    if schedules.cpu not in schedules.models:
        raise ScheduleError(
            f"no cost model of {schedules.target.name} on this CPU ({schedules.cpu}) is shipped"
        )
    with machine.LoadMeter() as meter:
        rows = [compare(layer(*shape), schedules, options.trials) for shape in UNSEEN]
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
