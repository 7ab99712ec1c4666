"""Which kernel gets the next trials: `python -m benchmarks.task_scheduler`.

MetaSchedule's gradient scheduler against round robin, on the kernels of two networks, from nothing.
Every schedule is measured once and both are told that time, so noise favours neither. They share
the rest of the search. The same searches with other random numbers give the spread.
"""

import argparse
import importlib
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tvm
from tvm.ir.utils import derived_object
from tvm.s_tir import Schedule
from tvm.s_tir import meta_schedule as ms
from tvm.target import Target as TvmTarget

from benchmarks import machine, report
from bnn_compiler import target as targets
from bnn_compiler import zoo
from bnn_compiler.device.measure import Here
from bnn_compiler.kernels.cpu import intrinsics
from bnn_compiler.kernels.point import Point
from bnn_compiler.kernels.task import Task
from bnn_compiler.target import Target
from bnn_compiler.tune.journal import Journal, Trial
from bnn_compiler.tune.network import Subject
from bnn_compiler.tune.rounds import BATCH, round_robin
from bnn_compiler.tune.strategy import Search, TaskSearch
from bnn_compiler.tune.workshop import Workshop, workshop

NETWORKS = ("birealnet18", "reactnet_a")
GRADIENT, ROUND_ROBIN = "gradient", "round robin"
#: Shares of a search's trials at which it is looked at.
SHARES = (0.1, 0.25, 0.5, 0.75, 1.0)


@dataclass
class Times:
    """What is known of every schedule; what is not is measured, once, and kept in a journal."""

    journal: Journal
    shop: Workshop
    known: dict[tuple[Task, Point], Trial] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.known = {(t.task, t.point): t for t in self.journal.trials}

    def measure(
        self, candidates: Sequence[tuple[Task, Point]], ended: Callable[[Trial], None]
    ) -> None:
        """As a workshop does."""
        self.shop.measure([c for c in candidates if c not in self.known], self._keep)
        for candidate in candidates:
            ended(self.known[candidate])

    def _keep(self, trial: Trial) -> None:
        self.journal.add(trial)
        self.known[trial.task, trial.point] = trial


class Curve:
    """Milliseconds of one run of all kernels, at the best schedules so far, after each trial.

    Before a kernel's first trial it counts with its rule's time.
    """

    def __init__(self, tasks: Mapping[Task, int], rules: Mapping[Task, float]) -> None:
        self.tasks = tasks
        self.best = dict(rules)
        self.points: list[float] = []

    def add(self, trial: Trial) -> None:
        """One more."""
        if trial.seconds is not None:
            self.best[trial.task] = min(self.best[trial.task], trial.seconds)
        self.points.append(1e3 * sum(n * self.best[t] for t, n in self.tasks.items()))

    def at(self, trials: int) -> float:
        """After so many trials."""
        return self.points[min(trials, len(self.points)) - 1]


@derived_object
class _Strategy(ms.search_strategy.PySearchStrategy):
    """MetaSchedule's view of a TaskSearch; a candidate is a name for a point."""

    def __init__(self, search: TaskSearch, empty: ms.MeasureCandidate, asked: list[Any]) -> None:
        super().__init__()
        self.search, self.empty, self.asked = search, empty, asked
        self.before: Trial | None = None

    def _initialize_with_tune_context(self, context: ms.TuneContext) -> None:
        pass

    def pre_tuning(self, *_: object, **__: object) -> None:
        """Nothing to prepare."""

    def post_tuning(self) -> None:
        """Nothing is held."""

    def generate_measure_candidates(self) -> list[ms.MeasureCandidate] | None:
        """A batch, or None when the search is over."""
        self.before = self.search.best()
        points = self.search.next(BATCH)
        self.asked.extend((self.search.task, p) for p in points)
        return [self.empty] * len(points) or None

    def notify_runner_results(self, candidates: object, results: object) -> None:
        """The trials are in the journal already."""
        self.search.told(self.before)

    def clone(self) -> "_Strategy":
        """Another view of the same search."""
        return _Strategy(self.search, self.empty, self.asked)


@derived_object
class _Builder(ms.builder.PyBuilder):
    """Builds nothing: the runner does."""

    def build(self, build_inputs: list[Any]) -> list[ms.builder.BuilderResult]:
        """A name for each."""
        return [ms.builder.BuilderResult("candidate", None) for _ in build_inputs]


@derived_object
class _Done(ms.runner.PyRunnerFuture):
    def __init__(self, trial: Trial) -> None:
        super().__init__()
        seconds = None if trial.seconds is None else [trial.seconds]
        self.found = ms.runner.RunnerResult(seconds, trial.error or None)

    def done(self) -> bool:
        """Always."""
        return True

    def result(self) -> ms.runner.RunnerResult:
        """The result."""
        return self.found


@derived_object
class _Runner(ms.runner.PyRunner):
    def __init__(self, times: Times, asked: list[Any], ended: Callable[[Trial], None]) -> None:
        super().__init__()
        self.times, self.asked, self.ended = times, asked, ended

    def run(self, runner_inputs: list[Any]) -> list[ms.runner.RunnerFuture]:
        """What was asked for."""
        found: list[Trial] = []
        self.times.measure(self.asked, found.append)
        self.asked.clear()
        for trial in found:
            self.ended(trial)
        return [_Done(trial) for trial in found]


def gradient(
    searches: Sequence[TaskSearch],
    weights: Sequence[int],
    times: Times,
    ended: Callable[[Trial], None],
    target: Target,
    seed: int,
) -> None:
    """MetaSchedule's loop, whose scheduler gives trials to the kernels that promise most."""
    with intrinsics.fast_inspect():
        # Every TuneContext needs TVM's own intrinsics.
        importlib.import_module("tvm.s_tir.tensor_intrin")
    empty_function = tvm.tirx.PrimFunc([], tvm.tirx.Evaluate(0)).with_attr("global_symbol", "main")
    module = tvm.IRModule({"main": empty_function})
    empty = ms.MeasureCandidate(
        Schedule(module, debug_mask="none"), ms.arg_info.ArgInfo.from_prim_func(empty_function)
    )
    asked: list[Any] = []
    device = TvmTarget({**target.tvm, "num-cores": 1})
    contexts = [
        ms.TuneContext(
            module,
            target=device,
            space_generator=ms.space_generator.ScheduleFn(
                lambda schedule: None, sch_rules=[], postprocs=[], mutator_probs={}
            ),
            search_strategy=_Strategy(search, empty, asked),
            task_name=str(search.task),
            num_threads=1,
        )
        for search in searches
    ]
    most = [len(search.space) + BATCH for search in searches]
    ms.task_scheduler.GradientBased(seed=seed).tune(
        contexts,
        task_weights=[float(w) for w in weights],
        max_trials_global=sum(most),
        max_trials_per_task=max(most),
        num_trials_per_iter=BATCH,
        builder=_Builder(),
        runner=_Runner(times, asked, ended),
        measure_callbacks=[],
        database=None,
        cost_model=None,
    )


def search(
    name: str, tasks: Mapping[Task, int], target: Target, times: Times, trials: int, seed: int
) -> Curve:
    """One search from nothing by the scheduler ``name``."""
    rules: dict[Task, float] = {}
    with tempfile.TemporaryDirectory() as folder, Journal(Path(folder) / "j", target) as log:
        shared = Search(log, target, trials)
        searches = [TaskSearch(shared, t) for t in tasks]
        for each in searches:
            each._rng = np.random.default_rng([seed, len(each.space)])
            times.measure(
                [(each.task, each.rule)],
                lambda trial: rules.update({trial.task: trial.seconds or float("nan")}),
            )
        curve = Curve(tasks, rules)

        def ended(trial: Trial) -> None:
            log.add(trial)
            curve.add(trial)

        if name == GRADIENT:
            gradient(searches, list(tasks.values()), times, ended, target, seed)
        else:

            def measure(candidates: Sequence[tuple[Task, Point]], _: object) -> None:
                times.measure(candidates, ended)

            round_robin(searches, measure, lambda search: None)
    return curve


@dataclass(frozen=True)
class Compared:
    """Milliseconds of all kernels after shares of the trials that round robin made; by seed."""

    network: str
    kernels: int
    scheduler: str
    trials: list[int]
    milliseconds: dict[str, list[float]]


def compare(network: str, times: Times, target: Target, trials: int, seeds: int) -> list[Compared]:
    """Both schedulers on one network."""
    torch.manual_seed(0)
    model, x = zoo.get(network)(), torch.randn(1, 3, 224, 224)
    zoo.randomize(model, x)
    tasks = Subject.of(model, (x,), target=target.name).tasks()
    curves: dict[str, list[Curve]] = {GRADIENT: [], ROUND_ROBIN: []}
    for seed in range(seeds):
        for name, found in curves.items():
            found.append(search(name, tasks, target, times, trials, seed))
            print(f"{network}, {name}, seed {seed}: {len(found[-1].points)} trials,", end=" ")
            print(f"{found[-1].points[-1]:.3f} ms, {len(times.known)} measured", flush=True)
    return [
        Compared(
            network,
            len(tasks),
            name,
            [len(c.points) for c in found],
            {
                f"{share:.0%}": [
                    c.at(round(share * len(other.points)))
                    for c, other in zip(found, curves[ROUND_ROBIN], strict=True)
                ]
                for share in SHARES
            },
        )
        for name, found in curves.items()
    ]


def table(rows: Sequence[Compared]) -> str:
    """As Markdown: means over the seeds."""
    shares = list(rows[0].milliseconds)
    lines = [
        f"| network (kernels) | scheduler | trials | {' | '.join(f'at {s}' for s in shares)} |",
        f"|---|---|---:|{'---:|' * len(shares)}",
    ]
    for r in rows:
        cells = [
            f"{np.mean(v):.3f} ({min(v):.3f} to {max(v):.3f})" for v in r.milliseconds.values()
        ]
        lines.append(
            f"| {r.network} ({r.kernels}) | {r.scheduler} | {np.mean(r.trials):.0f}"
            f" | {' | '.join(cells)} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--target", default="native")
    parser.add_argument("--trials", type=int, default=48, help="of each kernel")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--journal", type=Path, default=Path("task_scheduler.trials.jsonl"))
    parser.add_argument("--name", default="task_scheduler", help="name of the result files")
    options = parser.parse_args()
    target, here = targets.load(options.target), Here()
    described = machine.describe()
    with (
        machine.LoadMeter() as meter,
        Journal(options.journal, target, here.name) as log,
        workshop(target, here) as shop,
    ):
        times = Times(log, shop)
        rows = [
            row
            for network in NETWORKS
            for row in compare(network, times, target, options.trials, options.seeds)
        ]
    path = report.write(
        options.name,
        table(rows),
        report.Setting(described, None, meter.load),
        # Where the journal lies says nothing of the result.
        options={k: str(v) for k, v in vars(options).items() if k != "journal"},
        rows=[asdict(r) for r in rows],
    )
    print(path.read_text())


if __name__ == "__main__":
    main()
