"""Is a latency model right about networks it never saw? `python -m benchmarks.latency_model`.

Plans are drawn from a seed that is the digest of the model's file, so none can have been drawn
before the model was frozen. Each plan's network is made in torch at its channels, compiled, and
timed in turns with a reference program, by which slow minutes of the run are corrected; then the
prediction, which knows the plan's kernels only, is compared. Runs are not corrected to each other:
the reference takes 3.16 to 3.31 ms from one process to the next, and networks do not move with it.
What was made and measured stays in ``--folder``: stopped, the same command goes on.

The baselines have an easier task: they are fitted on four fifths of these very networks.
"""

import argparse
import hashlib
import json
import logging
import multiprocessing
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch
from platformdirs import user_cache_path

from benchmarks import machine, report
from benchmarks.latency_networks import NETWORKS, Plan
from bnn_compiler import target as targets
from bnn_compiler import zoo
from bnn_compiler.cost.pick import Schedules
from bnn_compiler.errors import BnnCompilerError, BuildError
from bnn_compiler.files import replace_text
from bnn_compiler.latency import LatencyModel, PlanSpace, baselines, programs, timing
from bnn_compiler.latency import model as models
from bnn_compiler.latency.kernel import Kernel
from bnn_compiler.latency.places import reference
from bnn_compiler.latency.sample import Sample
from bnn_compiler.latency.timing import Subject
from bnn_compiler.network import Network
from bnn_compiler.options import Options
from bnn_compiler.plan import plan as planning
from bnn_compiler.runtime import load

_SIDE, _TURN, _ROUNDS, _FOLDS = 224, 6, 12, 5
#: Plans that are asked for at once.
_BATCH = 10_000
#: Networks that a process compiles before another takes its place.
_COMPILED_BY_ONE = 20
OURS = "latency model"


@dataclass(frozen=True)
class Quality:
    """Of one predictor on one network; shares are of 1, errors relative."""

    network: str
    predictor: str
    plans: int
    mape: float
    within_5: float
    within_10: float
    spearman: float
    coverage: float | None = None


def quality(network: str, predictor: str, predicted: np.ndarray, measured: np.ndarray) -> Quality:
    """Compare [n] with [n]."""
    missed = np.abs(predicted / measured - 1)
    ranks = [np.argsort(np.argsort(v)).astype(float) for v in (predicted, measured)]
    return Quality(
        network,
        predictor,
        len(measured),
        float(missed.mean()),
        float((missed <= 0.05).mean()),
        float((missed <= 0.10).mean()),
        float(np.corrcoef(*ranks)[0, 1]),
    )


def table(rows: Sequence[Quality], noise: dict[str, tuple[float, float]]) -> str:
    """As Markdown; ``noise`` has the median and the 90 % quantile of each network."""
    lines = [
        "| network | predictor | plans | MAPE | within 5 % | within 10 % | Spearman"
        " | 80 % interval holds |",
        "|---|---|---:|---:|---:|---:|---:|---:|",
    ]
    for r in rows:
        held = "" if r.coverage is None else f"{100 * r.coverage:.0f} %"
        lines.append(
            f"| {r.network} | {r.predictor} | {r.plans} | {100 * r.mape:.1f} %"
            f" | {100 * r.within_5:.0f} % | {100 * r.within_10:.0f} % | {r.spearman:.4f} | {held} |"
        )
    for network, (median, most) in noise.items():
        lines.append(
            f"| {network} | noise: first against second half of the rounds | | {100 * median:.1f} %"
            f" (90 % below {100 * most:.1f} %) | | | | |"
        )
    return "\n".join(lines)


def draw(seed: str, network: str, count: int) -> list[Plan]:
    """The first plans of a network's sequence."""
    return [NETWORKS[network].draw(Random(f"{seed} {network} {k}")) for k in range(count)]


def _make(network: str, plan: Plan, target: str, folder: Path) -> None:
    """Compile one plan's network; runs in a process of its own."""
    if (folder / "kernels.json").is_file():
        return
    torch.set_num_threads(1)
    logging.getLogger("bnn_compiler").setLevel(logging.ERROR)
    model, x = NETWORKS[network].make(plan), torch.zeros(1, 3, _SIDE, _SIDE)
    planned = planning.plan(Network.of(model, (x,)).fused(Options()))
    kernels = Kernel.of_plan(planned)
    folder.mkdir(parents=True, exist_ok=True)
    programs.write(planned, Schedules.load(targets.load(target)), folder / "net")
    # With times of 1 in the places of those to be measured.
    ones = (1.0,) * len(kernels)
    made = Sample(network, plan, kernels, ones, 1.0, 0.0, 1.0)
    replace_text(folder / "kernels.json", json.dumps(made.as_dict()))


def make_all(work: list[tuple[str, Plan, Path]], target: str, jobs: int) -> None:
    """Compile what is not there yet, ``jobs`` at a time."""
    missing = [w for w in work if not (w[2] / "kernels.json").is_file()]
    context = multiprocessing.get_context("spawn")
    started = time.monotonic()
    done = 0
    # New processes now and then: torch and LLVM keep what they had.
    for first in range(0, len(missing), _COMPILED_BY_ONE * jobs):
        some = missing[first : first + _COMPILED_BY_ONE * jobs]
        with ProcessPoolExecutor(jobs, mp_context=context) as pool:
            futures = [pool.submit(_make, network, plan, target, to) for network, plan, to in some]
            for future in as_completed(futures):
                try:
                    future.result()
                except BnnCompilerError as e:
                    print(f"not compiled, and left out: {e}", flush=True)
                done += 1
                spent = (time.monotonic() - started) / 60
                print(f"compiled {done} of {len(missing)}, {spent:.1f} minutes", flush=True)


def measure_all(work: list[tuple[str, Plan, Path]], schedules: Schedules, rounds: int) -> None:
    """Time what is not timed yet, some at a time, in turns with the reference program."""
    missing = [w for w in work if not (w[2] / "times.json").is_file()]
    if not missing:
        return
    ahead = reference(schedules)
    started = time.monotonic()
    # Networks are mixed, so that a slow quarter of an hour is not one network's.
    for first in range(0, len(missing), _TURN):
        some = missing[first : first + _TURN]
        subjects = [Subject(load(folder / "net")) for *_, folder in some]
        with timing.undisturbed():
            found = timing.in_turns(subjects, ahead, rounds)
        for (_, _, folder), times in zip(some, found, strict=True):
            made = _read(folder / "kernels.json")
            timed = Sample.timed(made.network, made.plan, made.kernels, times)
            replace_text(folder / "times.json", json.dumps(timed.as_dict()))
        spent = (time.monotonic() - started) / 60
        print(f"timed {first + len(some)} of {len(missing)}, {spent:.1f} minutes", flush=True)


def _read(path: Path) -> Sample:
    return Sample.from_dict(json.loads(path.read_text()))


def compare(model: LatencyModel, samples: Sequence[Sample]) -> list[Quality]:
    """Every predictor on every network, at the speed at which the reference usually ran."""
    nominal = usual(samples)
    rows = []
    for network in dict.fromkeys(s.network for s in samples):
        mine = [s for s in samples if s.network == network]
        kernels = [s.kernels for s in mine]
        measured = np.array([s.seconds * nominal / s.reference for s in mine])
        found = model.predict_kernels(kernels)
        held = float(((found.low <= measured) & (measured <= found.high)).mean())
        ours = quality(network, OURS, found.seconds, measured)
        rows.append(Quality(**{**asdict(ours), "coverage": held}))
        rows += _baselines(network, mine, measured)
    return rows


def usual(samples: Sequence[Sample]) -> float:
    """Seconds of the reference program."""
    return float(np.median([s.reference for s in samples]))


def _baselines(network: str, samples: Sequence[Sample], measured: np.ndarray) -> list[Quality]:
    """By cross-validation: fitted on four fifths, asked about the rest."""
    names = [*baselines.LINEAR, "layer table, summed"]
    predicted = {name: np.zeros(len(samples)) for name in names}
    fold = np.random.default_rng(0).permutation(len(samples)) % _FOLDS
    for number in range(min(_FOLDS, len(samples))):
        train, test = np.flatnonzero(fold != number), np.flatnonzero(fold == number)
        known = [samples[i].kernels for i in train]
        asked = [samples[i].kernels for i in test]
        for name, counts in baselines.LINEAR.items():
            predicted[name][test] = baselines.linear(counts, known, measured[train])(asked)
        speed = measured[train] / [samples[i].seconds for i in train]
        steps = [np.array(samples[i].steps) * v for i, v in zip(train, speed, strict=True)]
        predicted[names[-1]][test] = baselines.table(known, [s.tolist() for s in steps])(asked)
    return [quality(network, name, predicted[name], measured) for name in names]


def rate(fresh: LatencyModel, space: PlanSpace, size: int) -> dict[str, float]:
    """Random plans a second, in batches of ``size``, of a model that was asked nothing yet: the
    first batch, one whose counts are new, and one that was asked before.
    """
    random = Random(0)

    def batch() -> list[Plan]:
        return [
            {name: random.randint(full // 4, full) for name, full in space.groups.items()}
            for _ in range(size)
        ]

    rates = {}
    space.kernels(batch()[0])
    first, new = batch(), batch()
    for name, plans in (("first", first), ("new", new), ("known", new)):
        start = time.perf_counter()
        fresh.predict(space, plans)
        rates[name] = size / (time.perf_counter() - start)
    return rates


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="A latency model against measured networks.")
    parser.add_argument("--networks", nargs="+", choices=list(NETWORKS), default=list(NETWORKS))
    parser.add_argument("--plans", type=int, default=100, help="of each network")
    parser.add_argument("--target", default="native")
    parser.add_argument("--model", type=Path, help="a model's file (default: as bnnc predict)")
    parser.add_argument("--folder", type=Path, help="programs and times, to resume (in the cache)")
    parser.add_argument("--jobs", type=int, default=2, help="compiled at a time")
    parser.add_argument("--rounds", type=int, default=_ROUNDS)
    parser.add_argument("--seed", help="of the plans (default: the digest of the model)")
    parser.add_argument("--name", default="latency_model", help="name of the result files")
    return parser.parse_args()


def main() -> None:
    options = _options()
    target = targets.load(options.target)
    schedules = Schedules.load(target)
    own, shipped = models.calibrated(target), models.shipped(target)
    path = options.model or (own if own.is_file() else shipped)
    model = models.read(path, schedules)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    seed = options.seed or digest
    folder = options.folder or user_cache_path("bnn_compiler") / "latency" / f"benchmark-{seed}"
    work = [
        (network, plan, folder / f"{network}-{k}")
        for k in range(options.plans)
        for network in options.networks
        for plan in [draw(seed, network, options.plans)[k]]
    ]
    make_all(work, target.name, options.jobs)
    planned = len(work)
    work = [w for w in work if (w[2] / "kernels.json").is_file()]
    if not work:
        raise BuildError("no network could be compiled")
    with machine.LoadMeter() as meter:
        measure_all(work, schedules, options.rounds)
    samples = [_read(to / "times.json") for *_, to in work]
    rows = compare(model, samples)
    noise = {
        n: (float(np.median(v)), float(np.quantile(v, 0.9)))
        for n in options.networks
        for v in [[s.noise for s in samples if s.network == n]]
    }
    bireal = zoo.get("birealnet18")().eval()
    space = PlanSpace.of(bireal, (torch.zeros(1, 3, _SIDE, _SIDE),), target=target.name)
    rates = rate(models.read(path, Schedules.load(target)), space, _BATCH)
    text = "\n\n".join(
        [
            table(rows, noise),
            f"{model.about.text}; plans from seed {seed}, {planned - len(work)} did not compile;"
            f" in batches of {_BATCH:,} random plans of Bi-Real-18 {rates['first']:,.0f} plans a"
            f" second in the first, {rates['new']:,.0f} in one of counts that are new,"
            f" {rates['known']:,.0f} in one that was asked before.",
        ]
    )
    parts: dict[str, Any] = {
        # Where programs lie says nothing of the result.
        "options": {k: str(v) for k, v in vars(options).items() if k != "folder"},
        "model": asdict(model.about),
        "seed": seed,
        "rows": [asdict(r) for r in rows],
        "noise": noise,
        "rates": rates,
        "networks": [_result(model, s, usual(samples)) for s in samples],
    }
    setting = report.Setting(machine.describe(), None, meter.load)
    print(report.write(options.name, text, setting, **parts).read_text())


def _result(model: LatencyModel, sample: Sample, nominal: float) -> dict[str, Any]:
    """One line of the results: the plan, measured (corrected) and predicted seconds."""
    found = model.predict_kernels([sample.kernels])
    return {
        "network": sample.network,
        "plan": sample.plan,
        "seconds": sample.seconds * nominal / sample.reference,
        "predicted": float(found.seconds[0]),
        "low": float(found.low[0]),
        "high": float(found.high[0]),
        "noise": sample.noise,
        "reference": sample.reference,
    }


if __name__ == "__main__":
    main()
