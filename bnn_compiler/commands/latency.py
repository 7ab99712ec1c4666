"""``bnnc predict`` and ``bnnc calibrate``."""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bnn_compiler.commands.common import (
    DEVICE,
    SECRET,
    Arguments,
    add_batches,
    add_input,
    add_model,
    batches,
    check_secret,
    examples,
    table,
)
from bnn_compiler.commands.int8 import add_calibration, add_rest, chosen, float_layers
from bnn_compiler.errors import InputError

if TYPE_CHECKING:
    from bnn_compiler.latency import Kernel, LatencyModel
    from bnn_compiler.latency.calibrate import Calibration, State
    from bnn_compiler.latency.space import PlanSpace
    from bnn_compiler.options import Options
    from bnn_compiler.quantization import Choices

_MINUTES = 10.0


def add_predict(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``bnnc predict``."""
    add_model(parser)
    parser.add_argument("--target", default="native", help="name or TOML file (default: native)")
    add_input(parser)
    add_batches(parser)
    add_rest(parser)
    add_calibration(parser)
    parser.add_argument("--schedules", type=Path, help="tuned records, before the shipped ones")
    parser.add_argument("--plan", type=Path, help="JSON object {group: channels}")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--explain", action="store_true", help="what each kernel takes")
    what.add_argument("--groups", action="store_true", help="list the groups of channels")
    what.add_argument("--sweep", metavar="GROUP", help="the time at every count of its channels")
    parser.add_argument("--html", type=Path, help="with --sweep: write a page here")
    parser.add_argument("--png", type=Path, help="with --sweep: write a picture here")


def add_calibrate(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``bnnc calibrate``."""
    parser.add_argument("--target", default="native", help="name or TOML file (default: native)")
    parser.add_argument("--minutes", type=float, help=f"stop after this time ({_MINUTES:g})")
    parser.add_argument("--programs", type=int, help="stop when so many have been timed; of a kit")
    parser.add_argument("--schedules", type=Path, help="tuned records, before the shipped ones")
    parser.add_argument("--journal", type=Path, help="log of programs, to resume (in the cache)")
    parser.add_argument("-o", "--output", type=Path, help="the model (in the cache)")
    parser.add_argument(
        "--no-prior", action="store_true", help="do not start from the shipped model"
    )
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--device", help=DEVICE)
    where.add_argument(
        "--export-kit", type=Path, metavar="FOLDER", help="programs that a board times alone"
    )
    where.add_argument(
        "--import-kit",
        type=Path,
        metavar="FOLDER",
        help="what it timed: the folder, or its results",
    )
    parser.add_argument("--secret", type=Path, metavar="FILE", help=SECRET)


def predict(args: Arguments) -> int:
    """The time of a network, or of a pruned one, without compiling it."""
    for name in ("html", "png"):
        if getattr(args, name) and not args.sweep:
            raise InputError(f"--{name} has no meaning without --sweep")
    sizes = batches(args)
    if len(sizes) > 1 and (args.groups or args.sweep):
        raise InputError("--groups and --sweep take one size of --batch")
    from bnn_compiler import target as targets
    from bnn_compiler.latency import LatencyModel
    from bnn_compiler.options import check_int8

    if float_layers(args) is not None:
        if args.groups or args.sweep or args.plan:
            raise InputError(
                "--rest int8 and auto are for the network as it is: plans are of float32"
            )
        check_int8(targets.load(args.target), args.rest)
    if args.groups:
        return _groups(args, sizes[0])
    model = LatencyModel.load(args.target, args.schedules)
    if args.sweep:
        return _sweep(args, model, sizes[0])
    found = {batch: _predicted(args, model, batch) for batch in sizes}
    if args.json:
        print(json.dumps(found if args.batch else found[None]))
        return 0
    for batch, one in found.items():
        _show(one, "" if batch is None else f"batch {batch}: ")
    print(model.about.text)
    return 0


def _predicted(args: Arguments, model: "LatencyModel", batch: int | None) -> dict[str, Any]:
    """What is predicted of a network for ``batch``, as JSON has it."""
    rest = chosen(args, _compiled(args), batch)
    kernels = _space(args, batch).kernels(_plan(args)) if args.plan else _kernels(args, batch, rest)
    found = model.predict_kernels([kernels])
    seconds, low, high = (float(v[0]) for v in (found.seconds, found.low, found.high))
    result: dict[str, Any] = {
        "seconds": seconds,
        "low": low,
        "high": high,
        "target": model.target.name,
        "measured": model.about.measured,
        "about": model.about.text,
    }
    if rest is not None:
        result["rest"] = {**rest.as_dict(), "lines": rest.lines()}
    if args.explain:
        result["kernels"] = [vars(row) for row in model.explain(kernels)]
    return result


def _show(found: dict[str, Any], which: str) -> None:
    if "kernels" in found:
        columns = ["layer", "kernel", "us", "share", "schedule", "point"]
        table(
            columns,
            [
                [
                    r["name"],
                    r["what"],
                    f"{1e6 * r['seconds']:.1f}",
                    f"{100 * r['seconds'] / found['seconds']:.1f} %",
                    r["source"],
                    r["schedule"],
                ]
                for r in found["kernels"]
            ],
        )
    if "rest" in found:
        print("\n".join(found["rest"]["lines"]))
    low, high = 1e3 * found["low"], 1e3 * found["high"]
    print(
        f"{which}{1e3 * found['seconds']:.3f} ms on {found['target']}"
        f" (80 % interval {low:.3f} to {high:.3f} ms)"
    )


def calibrate(args: Arguments) -> int:
    """Time programs on this machine, on a board or by a kit, and fit a model."""
    _refuse_unused(args)
    check_secret(args)
    if args.export_kit:
        return _export(args)
    found = _imported(args) if args.import_kit else _calibrated(args)
    if args.json:
        print(
            json.dumps(
                {
                    "model": str(found.path),
                    "programs": found.model.about.programs,
                    "error": found.model.about.error,
                    "disturbed": found.disturbed,
                }
            )
        )
        return 0
    print(f"{found.model.about.text}\n{found.path}; {found.disturbed} programs disturbed, left out")
    return 0


def _calibrated(args: Arguments) -> "Calibration":
    from bnn_compiler.latency.calibrate import calibrate as run

    with _Live(quiet=args.json) as live:
        return run(
            args.target,
            minutes=_MINUTES if args.minutes is None else args.minutes,
            programs_at_most=args.programs,
            schedules=args.schedules,
            journal=args.journal,
            output=args.output,
            prior=not args.no_prior,
            device=args.device,
            secret=args.secret,
            tell=live.update,
        )


def _imported(args: Arguments) -> "Calibration":
    from bnn_compiler.latency import kit

    return kit.load(
        args.target,
        args.import_kit,
        schedules=args.schedules,
        log=args.journal,
        output=args.output,
        prior=not args.no_prior,
    )


def _export(args: Arguments) -> int:
    from bnn_compiler.latency import kit

    made = kit.export(
        args.target,
        args.export_kit,
        count=kit.PROGRAMS if args.programs is None else args.programs,
        schedules=args.schedules,
        tell=lambda built, of: print(f"{built} of {of} programs", file=sys.stderr),
    )
    if args.json:
        print(json.dumps({"kit": made.id, "programs": made.programs, "bytes": made.bytes}))
        return 0
    print(
        f"{made.path}: {made.programs} programs, {made.bytes / 1e6:.1f} MB\n"
        f"on the board: sh {made.path.name}/run.sh {made.path.name}/results.json\n"
        f"then here: bnnc calibrate --target {args.target} --import-kit {made.path.name}"
    )
    return 0


def _refuse_unused(args: Arguments) -> None:
    """Raise InputError for what this way of calibrating would not look at."""
    unused = {
        "--export-kit": ("minutes", "journal", "output") if args.export_kit else (),
        "--import-kit": ("minutes", "programs") if args.import_kit else (),
    }
    for way, names in unused.items():
        for name in names:
            if getattr(args, name) is not None:
                raise InputError(f"--{name} has no meaning with {way}")


class _Live:
    """One line on stderr: rewritten on a terminal, else one for each change."""

    def __init__(self, quiet: bool) -> None:
        self._quiet = quiet

    def __enter__(self) -> "_Live":
        return self

    def __exit__(self, *error: object) -> None:
        if not self._quiet and sys.stderr.isatty():
            print(file=sys.stderr)

    def update(self, state: "State") -> None:
        """Show where a calibration is."""
        if self._quiet:
            return
        error = "" if state.error is None else f", error so far {100 * state.error:.1f} %"
        line = (
            f"{state.seconds / 60:.1f} of {state.limit / 60:.1f} minutes, {state.programs} programs"
            f"{error}: {state.doing}"
        )
        if sys.stderr.isatty():
            print(f"\r\x1b[K{line}", end="", file=sys.stderr, flush=True)
        else:
            print(line, file=sys.stderr, flush=True)


def _options(args: Arguments) -> dict[str, Any]:
    names = ("input_dtype", "mean", "std", "allow_reorder")
    return {n: getattr(args, n) for n in names}


def _compiled(args: Arguments) -> "Options":
    """What ``compile`` would be asked for."""
    from bnn_compiler import target as targets
    from bnn_compiler.options import Options

    options = Options.of("exact", **_options(args))
    return options.on(targets.load(args.target).hardware.kind)


def _kernels(args: Arguments, batch: int | None, rest: "Choices | None") -> "tuple[Kernel, ...]":
    """Of the network as it is."""
    from bnn_compiler.latency import Kernel
    from bnn_compiler.network import Network, uncalibrated
    from bnn_compiler.plan import plan

    network = Network.of_batch(args.model, examples(args), batch, checkpoint=args.checkpoint)
    options = _compiled(args)
    kept_in_float = float_layers(args)
    if kept_in_float is not None:
        kept_in_float = [*kept_in_float, *(() if rest is None else rest.in_float)]
        options = uncalibrated(network.imported.module, options, kept_in_float)
    return Kernel.of_plan(plan.plan(network.fused(options)))


def _space(args: Arguments, batch: int | None) -> "PlanSpace":
    from bnn_compiler.latency.space import PlanSpace
    from bnn_compiler.network import resized

    inputs = examples(args)
    if inputs is None:
        raise InputError("plans need a network that can be pruned: give a factory, and its --shape")
    given = inputs if batch is None else resized(inputs, batch)
    return PlanSpace.of(
        args.model, given, checkpoint=args.checkpoint, target=args.target, **_options(args)
    )


def _plan(args: Arguments) -> Mapping[str, int]:
    """The plan that is asked for. Raises InputError for a file that holds none."""
    if args.plan is None:
        return {}
    try:
        data = json.loads(args.plan.read_text())
    except (OSError, ValueError) as e:
        raise InputError(f"cannot read {args.plan} as JSON: {e}") from e
    if not isinstance(data, dict) or not all(type(v) is int for v in data.values()):
        raise InputError(f'{args.plan} is no plan: give an object {{"group": channels, ...}}')
    return data


def _groups(args: Arguments, batch: int | None) -> int:
    space = _space(args, batch)
    if args.json:
        print(json.dumps(dict(space.groups)))
        return 0
    rows: Sequence[list[str]] = [[name, str(count)] for name, count in space.groups.items()]
    table(["group", "channels"], rows)
    return 0


def _sweep(args: Arguments, model: "LatencyModel", batch: int | None) -> int:
    from bnn_compiler.latency import page, sweep

    found = sweep.sweep(model, _space(args, batch), args.sweep, _plan(args))
    title = f"{args.model}: channels of {args.sweep} on {model.target.name}"
    if args.html:
        page.write(found, title, model.about.text, args.html)
    if args.png:
        page.write_png(found, title, args.png)
    if args.json:
        print(json.dumps({**found.as_dict(), "about": model.about.text}))
        return 0
    table(sweep.COLUMNS, found.rows())
    print(model.about.text)
    return 0
