"""Does a searched plan beat uniform scaling at equal time? `python -m benchmarks.search`.

Every plan of every method is trained from scratch by one recipe, several seeds each, compiled, and
timed in turns with a reference program. Uniform plans at and around each budget make a curve of
accuracy against measured time, and a plan is compared with the curve at its own measured time. The
full network is trained too: what it has above the uniform plan is what there is to win.

Everything is kept in ``--folder``: stopped, the same command goes on, and with more ``--seeds`` or
``--budgets`` it adds to what is there. ``--stage train`` needs hours and no quiet; ``--stage
measure`` needs minutes and a machine that is left alone; ``--stage report`` writes the results.
"""

import argparse
import json
import math
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from platformdirs import user_cache_path

from benchmarks import machine, report, search_plot
from benchmarks.search_networks import FASHION, FIRST, FULL, NETWORKS
from benchmarks.search_plans import GIVEN, METHODS, Plan, Study, curve
from bnn_compiler import compiler
from bnn_compiler import target as targets
from bnn_compiler.cost.pick import Schedules
from bnn_compiler.files import replace_text
from bnn_compiler.latency import LatencyModel, timing
from bnn_compiler.latency.places import reference
from bnn_compiler.search.network import Judges
from bnn_compiler.search.plans import key
from bnn_compiler.search.workers import Workers

STAGES = ("train", "measure", "report")
_ROUNDS, _TURN = 40, 6


@dataclass(frozen=True)
class Point:
    """A plan of a method at a budget: seconds, and accuracies (0..1) on the test images by seed.

    ``rank`` is the rank correlation of inherited and trained accuracy in its search.
    """

    network: str
    method: str
    budget: float
    plan: Plan
    predicted: float
    measured: float | None
    chosen: tuple[float, ...]
    tests: tuple[float, ...]
    rank: float | None = None

    @property
    def seconds(self) -> float:
        """Measured, or predicted where nothing is measured yet."""
        return self.predicted if self.measured is None else self.measured


def main() -> None:
    options = _options()
    size = FIRST if options.first else FULL
    root = options.folder or user_cache_path("bnn_compiler") / "search-benchmark"
    root = root / ("first" if options.first else "full")
    model = LatencyModel.load(options.target)
    studies = {
        name: Study(
            NETWORKS[name].task(str(options.data), root / name, size, options.target),
            size,
            model,
            lambda text: print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True),
        )
        for name in options.networks
    }
    stages = STAGES if options.stage == "all" else (options.stage,)
    for name, study in studies.items():
        if "train" in stages:
            train(name, study, options)
    with machine.LoadMeter() as meter:
        if "measure" in stages:
            measure_all(studies, options)
    if "report" in stages or "measure" in stages:
        write(studies, options, meter.load)


# ---- train


def train(name: str, study: Study, options: argparse.Namespace) -> None:
    """Plans of every budget and method, and their trainings."""
    study.task.folder.mkdir(parents=True, exist_ok=True)
    told = [0]

    def progress(p: Any) -> None:
        if p.epoch != told[0]:
            told[0] = p.epoch
            study.say(f"{name}: supernet, epoch {p.epoch} of {p.epochs}, loss {p.loss:.3f}")

    study.task.train_supernet(progress)
    budgets = [study.share(s) for s in NETWORKS[name].shares[: options.budgets]]
    with Workers(Judges(study.task), options.workers) as workers:
        for budget in budgets:
            for method in _methods(name, options):
                plan = study.answer(method, budget, workers)
                _keep(study, method, budget, plan)
                study.train(plan, range(options.seeds), workers)
        full = study.full
        others = [("full", study.predicted(full), full)]
        others += [
            ("uniform", seconds, study.uniform(seconds))
            for seconds in (curve(budgets) if options.curve else [])
        ]
        for method, seconds, plan in others:
            _keep(study, method, seconds, plan)
            study.train(plan, range(options.seeds), workers)


def _methods(name: str, options: argparse.Namespace) -> list[str]:
    grouped = bool(NETWORKS[name].groups)
    return [m for m in options.methods if grouped or m != "one group"]


def _keep(study: Study, method: str, seconds: float, plan: Plan) -> None:
    """Write down which plan a method has found."""
    known = _found(study)
    entry = {"method": method, "budget": seconds, "plan": plan}
    if entry not in known:
        replace_text(study.task.folder / "plans.json", json.dumps([*known, entry], indent=1))


def _found(study: Study) -> list[dict[str, Any]]:
    path = study.task.folder / "plans.json"
    found: list[dict[str, Any]] = json.loads(path.read_text()) if path.is_file() else []
    return found


# ---- measure


def measure_all(studies: dict[str, Study], options: argparse.Namespace) -> None:
    """Time every plan, some at a time, in turns with the reference program; all of them anew."""
    schedules = Schedules.load(targets.load(options.target))
    ahead = reference(schedules)
    for study in studies.values():
        plans = list({key(e["plan"]): e["plan"] for e in _found(study)}.values())
        plans += [p for p in _equal_groups(study) if p not in plans]
        seconds: dict[str, float] = {}
        nominal: list[float] = []
        with tempfile.TemporaryDirectory() as folder:
            made = [_compiled(study, p, Path(folder) / str(i)) for i, p in enumerate(plans)]
            found = []
            for first in range(0, len(made), _TURN):
                with timing.undisturbed():
                    found += timing.in_turns(made[first : first + _TURN], ahead, _ROUNDS)
        nominal = [float(np.median(t.reference)) for t in found]
        usual = float(np.median(nominal)) if nominal else math.nan
        for plan, times in zip(plans, found, strict=True):
            seconds[key(plan)] = times.seconds(usual)
            study.say(f"{times.seconds(usual) * 1e6:.1f} us, noise {times.noise:.1%}: {key(plan)}")
        replace_text(study.task.folder / "times.json", json.dumps(seconds, indent=1))


def _compiled(study: Study, plan: Plan, path: Path) -> timing.Subject:
    network = study.task.space.crop(plan).eval()
    artifact = compiler.compile(
        network, study.task.inputs, target=study.task.target, output=path, check=False
    )
    artifact.set_threads(1)
    return timing.Subject(artifact)


def _equal_groups(study: Study) -> list[Plan]:
    """The full network with one group count for all, of a search of groups."""
    return [
        {n: count if n.endswith(".groups") else c for n, c in study.full.items()}
        for count in study.task.groups
    ]


def _times(study: Study) -> dict[str, float]:
    path = study.task.folder / "times.json"
    found: dict[str, float] = json.loads(path.read_text()) if path.is_file() else {}
    return found


# ---- report


def points(name: str, study: Study, seeds: int) -> list[Point]:
    """All that was trained, with its times where they were measured."""
    times, found = _times(study), []
    for entry in _found(study):
        plan, method, budget = entry["plan"], entry["method"], entry["budget"]
        scores = study.known(plan, seeds)
        if scores:
            chosen, tests = zip(*scores, strict=True)
            rank = None if method in GIVEN else study.correlation(method, budget)
            seconds = study.predicted(plan), times.get(key(plan))
            found.append(Point(name, method, budget, plan, *seconds, chosen, tests, rank))
    return found


def at_equal_time(point: Point, all_points: Sequence[Point]) -> float | None:
    """The uniform curve's mean accuracy at the point's time: linear in its logarithm between the
    nearest plans, None where the curve does not reach to within 3 %.
    """
    curve_ = sorted({(p.seconds, fmean(p.tests)) for p in all_points if p.method == "uniform"})
    if not curve_:
        return None
    x = [math.log(t) for t, _ in curve_]
    at = math.log(point.seconds)
    if not x[0] - 0.03 <= at <= x[-1] + 0.03:
        return None
    return float(np.interp(at, x, [a for _, a in curve_]))


def table(found: Sequence[Point]) -> str:
    """As Markdown; one row for each method and budget."""
    lines = [
        "| network | budget, us | method | measured, us | accuracy, mean (least to most) | seeds"
        " | uniform at that time | difference, points | rank correlation |",
        "|---|---:|---|---:|---|---:|---:|---:|---:|",
    ]
    for p in found:
        time_ = f"{p.seconds * 1e6:.1f}" + ("" if p.measured else " (predicted)")
        equal = at_equal_time(p, [q for q in found if q.network == p.network])
        against = ["", ""]
        if equal is not None and p.method not in GIVEN:
            against = [f"{equal:.2%}", f"{(fmean(p.tests) - equal) * 100:+.2f}"]
        spread = f"{fmean(p.tests):.2%} ({min(p.tests):.2%} to {max(p.tests):.2%})"
        rank = "" if p.rank is None else f"{p.rank:.2f}"
        lines.append(
            f"| {p.network} | {p.budget * 1e6:.4g} | {p.method} | {time_} | {spread}"
            f" | {len(p.tests)} | {against[0]} | {against[1]} | {rank} |"
        )
    return "\n".join(lines)


def groups_table(study: Study) -> str:
    """What groups cost: the full network with one group count for all. Empty if not measured."""
    times = _times(study)
    plans = [p for p in _equal_groups(study) if key(p) in times]
    if not plans:
        return ""
    lines = ["| groups of every convolution | predicted, us | measured, us |", "|---:|---:|---:|"]
    for plan, count in zip(plans, study.task.groups, strict=True):
        took = times[key(plan)] * 1e6
        lines.append(f"| {count} | {study.predicted(plan) * 1e6:.1f} | {took:.1f} |")
    return "\n".join(lines)


def write(studies: dict[str, Study], options: argparse.Namespace, load: machine.Load) -> None:
    """results/<name>.md, .json and the plots."""
    found = [p for n, s in studies.items() for p in points(n, s, options.seeds)]
    if not found:
        raise SystemExit("nothing is trained yet: run --stage train first")
    name = options.name or ("search_first" if options.first else "search")
    costs = [t for s in studies.values() if s.task.groups and (t := groups_table(s))]
    for network in studies:
        mine = [p for p in found if p.network == network]
        if mine:
            search_plot.draw(mine, report.RESULTS / f"{name}_{network}.svg")
    setting = report.Setting(machine.describe(), None, load)
    size = next(iter(studies.values())).size
    path = report.write(
        name,
        "\n\n".join([table(found), *costs, _sizes(size)]),
        setting,
        size=asdict(size),
        latency_model=next(iter(studies.values())).model.about.text,
        points=[{**asdict(p), "uniform_then": at_equal_time(p, found)} for p in found],
    )
    print(path.read_text())


def _sizes(size: Any) -> str:
    return (
        f"Trained on {size.images:,} images, plans chosen by {size.choose:,}, tested on those of"
        f" the data set; {size.recipe.epochs} epochs in batches of {size.recipe.batch}, supernet"
        f" {size.supernet_epochs}; {size.population * size.generations} candidates a search,"
        f" {size.finalists} finalists. One supernet and one search for each row."
    )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Searched plans against uniform scaling.")
    parser.add_argument("--stage", choices=["all", *STAGES], default="all")
    parser.add_argument("--networks", nargs="+", choices=list(NETWORKS), default=list(NETWORKS))
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--budgets", type=int, default=3, help="how many, 1 to 3")
    parser.add_argument("--seeds", type=int, default=5, help="trainings of each plan")
    parser.add_argument("--no-curve", dest="curve", action="store_false", help="budgets only")
    parser.add_argument(
        "--first", action="store_true", help="a first look, of hours instead of days"
    )
    parser.add_argument("--data", type=Path, default=FASHION, help="a folder of IDX files")
    parser.add_argument("--target", default="native")
    parser.add_argument("--folder", type=Path, help="what was done, to resume (in the cache)")
    parser.add_argument("--workers", type=int, default=1, help="processes that train")
    parser.add_argument("--name", help="of the result files (default: search)")
    return parser.parse_args()


if __name__ == "__main__":
    main()
