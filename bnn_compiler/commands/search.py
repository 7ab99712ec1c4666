"""``bnnc search``: which channels, and groups, of a network are worth their time."""

import argparse
import json
import shlex
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bnn_compiler.commands import search_artifacts as artifacts
from bnn_compiler.commands.common import DEVICE, SECRET, Arguments, check_secret
from bnn_compiler.commands.place import Place
from bnn_compiler.errors import InputError, SearchError

if TYPE_CHECKING:
    from bnn_compiler.latency.model import LatencyModel
    from bnn_compiler.search.budget import Budget
    from bnn_compiler.search.live import Live
    from bnn_compiler.search.network import Judges, Task
    from bnn_compiler.search.run import Result
    from bnn_compiler.search.workers import Workers

#: Help of --ray.
_RAY = "judge candidates on a Ray cluster: HOST:PORT of its head, auto, or local to start one here"


def add(parser: argparse.ArgumentParser) -> None:
    """Its arguments."""
    parser.add_argument("model", help="package.module:factory")
    parser.add_argument("--checkpoint", type=Path, help="weights to start from, strictly")
    parser.add_argument("--shape", required=True, help="input shape, e.g. 1,3,224,224")
    parser.add_argument(
        "--data",
        required=True,
        help="a folder of images by class or of IDX files, package.module:factory, or mnist_5k",
    )
    parser.add_argument(
        "--budget",
        action="append",
        required=True,
        help="e.g. 2.5ms, 300MFLOPs, 2GBOPs, 4.2MB; again for another unit",
    )
    parser.add_argument("--target", default="native", help="name or TOML file (default: native)")
    parser.add_argument("-o", "--output", required=True, type=Path, help="folder for all results")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--generations", type=int, default=20)
    parser.add_argument("--population", type=int, default=50)
    parser.add_argument("--pareto", action="store_true", help="accuracy against every budget")
    parser.add_argument("--groups", help="group counts to choose from, e.g. 1,2,4,8")
    parser.add_argument("--weights", choices=["shared", "generated"], default="shared")
    parser.add_argument("--epochs", type=int, default=64, help="of the winner's training")
    parser.add_argument("--supernet-epochs", type=int, help="default: a quarter of --epochs")
    parser.add_argument("--batch", type=int, default=100, help="images of a training step")
    parser.add_argument("--lr", type=float, default=3e-3)
    parser.add_argument("--shift", type=int, default=0, help="move training images, in pixels")
    parser.add_argument(
        "--choose", type=float, default=0.2, help="share of the training images to choose plans by"
    )
    parser.add_argument("--flip", action="store_true", help="mirror training images")
    parser.add_argument("--finalists", type=int, default=8, help="plans to measure and train")
    parser.add_argument("--seeds", type=int, default=1, help="trainings of winner and uniform")
    parser.add_argument("--workers", type=int, help="processes (1), or Ray actors (all there are)")
    parser.add_argument("--ray", metavar="ADDRESS", help=_RAY)
    parser.add_argument("--device", help=f"{DEVICE}, instead of here")
    parser.add_argument("--secret", type=Path, metavar="FILE", help=SECRET)
    parser.add_argument("--resume", action="store_true", help="go on with the search in -o")


def run(args: Arguments) -> int:
    """Search, train, compile, measure, report."""
    from bnn_compiler.search.live import Live

    try:
        with Live(quiet=args.json) as live, ExitStack() as stack:
            result, summary = _search(args, live, stack)
    except KeyboardInterrupt:
        print(f"go on with: {_resume()}", file=sys.stderr)
        raise
    if args.json:
        print(json.dumps({"plan": result.winner, "summary": summary, "folder": str(args.output)}))
    else:
        print("\n".join([*summary, f"{args.output / 'report.html'} shows all of it"]))
    return 0


def _search(args: Arguments, live: "Live", stack: ExitStack) -> "tuple[Result, list[str]]":
    """``stack`` ends what judges candidates."""
    from bnn_compiler.search import deliver, page
    from bnn_compiler.search.budget import Budget, Prices, limits_of
    from bnn_compiler.search.checkpoint import Checkpoint
    from bnn_compiler.search.evolution import Evolution, Settings
    from bnn_compiler.search.network import INHERITED, Judges, choose, training
    from bnn_compiler.search.pareto import Pareto
    from bnn_compiler.search.report import SearchReport
    from bnn_compiler.search.run import Ending, Parts, refuse_infeasible, search

    check_secret(args)
    budgets = [Budget.parse(text) for text in args.budget]
    settings = Settings.of(args.population, args.generations)
    strategy = Pareto if args.pareto else Evolution
    task = _task(args)
    place = Place(task, args.device, args.secret)
    place.check()
    times = _times(args.target, budgets)
    checkpoint = Checkpoint(args.output, _identity(args, budgets, times))
    # Whatever could be wrong is found before the first image is looked at.
    state = checkpoint.load(resume=args.resume)
    prices = Prices(task.domain, limits_of(budgets, _costs(task, times)))
    refuse_infeasible(prices)
    workers = _workers(args, Judges(task), live, stack)
    _ = task.splits
    # From here on the folder is this search's, and --resume goes on with it.
    checkpoint.save(state)
    total = task.supernet_epochs
    live.stage("supernet, epochs", 0, total)
    task.train_supernet(lambda p: live.stage("supernet, epochs", p.step * total // p.steps, total))
    result = search(
        prices,
        Parts(
            strategy(settings, args.seed),
            workers.at(INHERITED),
            place.measure if place.measures else None,
            lambda plans, keep, train: choose(plans, keep, train, seed=args.seed),
            training(task, workers.at),
            together=workers.count,
        ),
        settings,
        args.seed,
        checkpoint=checkpoint,
        resume=True,
        ending=Ending(args.finalists, seeds=args.seeds),
        tell=live.search,
        say=live.say,
    )
    found = deliver.winner(task, result)
    deliver.write(task, found, args.budget)
    artifacts.export(found.network, task, args.output / "network.pt2")
    shipped = tuple(artifacts.ship(place, result, args.output))
    report = SearchReport(
        args.model, args.target, place.name, args.seed, result, shipped, place.hint
    )
    page.write(report, args.output)
    return result, report.summary()


def _workers(args: Arguments, judges: "Judges", live: "Live", stack: ExitStack) -> "Workers":
    """Processes of this machine, or a cluster's actors; they end with ``stack``."""
    from bnn_compiler.search.workers import Workers

    count = args.workers
    if args.ray is None:
        count = 1 if count is None else count
        return stack.enter_context(Workers(judges, count, live.candidates))
    from bnn_compiler.search.cluster import Cluster

    cluster = stack.enter_context(Cluster.join(args.ray, count))
    count = cluster.capacity if count is None else count
    return stack.enter_context(Workers(judges, count, live.candidates, cluster))


def _task(args: Arguments) -> "Task":
    """What is searched. Raises InputError or SearchError for arguments that cannot be."""
    from bnn_compiler.search.network import Task
    from bnn_compiler.search.train import Settings

    if ":" not in args.model:
        raise SearchError(
            f"{args.model}: a search trains pruned networks, so it needs package.module:factory"
        )
    return Task(
        args.model,
        _integers("--shape", args.shape),
        args.data,
        args.output,
        Settings(args.epochs, batch=args.batch, lr=args.lr, shift=args.shift, flip=args.flip),
        args.supernet_epochs or max(1, args.epochs // 4),
        args.weights,
        args.checkpoint,
        args.target,
        _integers("--groups", args.groups) if args.groups else (),
        args.seed,
        args.choose,
    )


def _integers(name: str, text: str) -> tuple[int, ...]:
    try:
        numbers = tuple(int(v) for v in text.split(","))
        if min(numbers) < 1:
            raise ValueError("below 1")
    except ValueError as e:
        raise InputError(f"{name} {text!r}: give integers of at least 1, with commas") from e
    return numbers


def _identity(
    args: Arguments, budgets: "list[Budget]", times: "LatencyModel | None"
) -> dict[str, Any]:
    """What makes two searches the same; not where and with how many workers they run."""
    names = (
        "model", "data", "shape", "target", "seed", "generations", "population", "pareto", "groups",
        "weights", "epochs", "supernet_epochs", "batch", "lr", "shift", "flip", "choose",
        "finalists", "seeds",
    )  # fmt: skip
    found: dict[str, Any] = {name: getattr(args, name) for name in names}
    found["checkpoint"] = str(args.checkpoint) if args.checkpoint else None
    found["budgets"] = [b.text for b in budgets]
    # Times of two machines do not mix, nor what two models say of them.
    found["device"] = args.device
    found["latency"] = None if times is None else times.about.text
    return found


def _times(target: str, budgets: "list[Budget]") -> "LatencyModel | None":
    """The latency model, if a budget needs it."""
    if all(b.unit != "s" for b in budgets):
        return None
    from bnn_compiler.latency.model import LatencyModel

    return LatencyModel.load(target)


def _costs(task: "Task", times: "LatencyModel | None") -> dict[str, Any]:
    """By unit."""
    from bnn_compiler.search.costs import COUNTS, Seconds, counted

    costs: dict[str, Any] = {unit: counted(unit, task.space) for unit in COUNTS}
    if times is not None:
        costs["s"] = Seconds(task.space, times)
    return costs


def _resume() -> str:
    """The command that was given, with --resume."""
    arguments = [a for a in sys.argv[1:] if a != "--resume"]
    return shlex.join(["bnnc", *arguments, "--resume"])
