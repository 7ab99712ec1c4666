"""``bnnc tune``: on this machine, on boards, or by a kit."""

import argparse
import json
import math
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from bnn_compiler.commands.common import (
    DEVICE,
    SECRET,
    Arguments,
    add_batches,
    add_input,
    add_model,
    check_secret,
    examples,
    table,
)
from bnn_compiler.commands.int8 import add_rest, float_layers
from bnn_compiler.device.address import Address
from bnn_compiler.errors import InputError, TargetError

if TYPE_CHECKING:
    from bnn_compiler.runtime.manifest import Manifest
    from bnn_compiler.tune.network import Subject

#: Of each kernel, if nothing else is said.
_TRIALS = 48
#: They take about so many.
_MINUTES = 0.25


def add(parser: argparse.ArgumentParser) -> None:
    """Its arguments."""
    add_model(parser)
    parser.add_argument("--target", default="native", help="name or TOML file (default: native)")
    add_input(parser)
    add_batches(parser)
    add_rest(parser)
    parser.add_argument("--schedules", type=Path, help="records to write (the shipped file)")
    parser.add_argument("--journal", type=Path, help="log of trials, to resume (in the cache)")
    parser.add_argument("--trials", type=int, help=f"for each kernel (default: {_TRIALS})")
    parser.add_argument("--minutes", type=float, help="stop after this time")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--device", help=DEVICE)
    where.add_argument(
        "--export-candidates", type=Path, metavar="KIT", help="an archive a board measures alone"
    )
    where.add_argument("--import-results", type=Path, metavar="FILE", help="what KIT measured")
    parser.add_argument("--secret", type=Path, metavar="FILE", help=SECRET)


def run(args: Arguments) -> int:
    """Tune, write a kit, or take in its results."""
    _refuse_unused(args)
    check_secret(args)
    if args.device:
        # Before the network is loaded, which takes a while.
        Address.parse(args.device)
    from bnn_compiler.report import tuning
    from bnn_compiler.tune import inside, network

    if args.export_candidates:
        return _export(args)
    if args.import_results:
        report = network.import_results(_subject(args), args.import_results, journal=args.journal)
    else:
        with tuning.live(quiet=args.json) as tell:
            subject = _subject(args)
            report = network.tune_network(
                subject,
                device=args.device,
                secret=args.secret,
                journal=args.journal,
                trials=_TRIALS if args.trials is None else args.trials,
                minutes=args.minutes,
                tell=tell,
            )
        if not args.device and subject.target.hardware.kind == "llvm":
            report = replace(report, inside=inside.seconds_inside(subject))
    if args.json:
        print(json.dumps(tuning.as_dict(report)))
        return 0
    table(tuning.COLUMNS, tuning.rows(report))
    print("\n".join(tuning.summary(report)))
    return 0


def advice(manifest: "Manifest") -> str:
    """What tuning might do for an artifact that runs here, if nothing in it was measured here."""
    from bnn_compiler import target
    from bnn_compiler.cost import cpus

    tuned = (s for s in manifest.steps if s.source != "fixed")
    kernels = {s.kernel: s for s in tuned}.values()
    try:
        here = cpus.of(target.load(manifest.target.name))
    except TargetError:
        # A TOML file's.
        return ""
    measured = {s.measured_on for s in kernels}
    if not kernels or not here or here in measured:
        return ""
    minutes = math.ceil(len(kernels) * _MINUTES)
    rest = " --rest auto" if manifest.rest else " --rest int8" if manifest.int8 else ""
    return f"nothing was measured on this CPU ({here}): `bnnc tune{rest}` takes about {minutes} min"


def _export(args: Arguments) -> int:
    from bnn_compiler.tune import network

    kit = network.export_candidates(
        _subject(args),
        args.export_candidates,
        trials=_TRIALS if args.trials is None else args.trials,
        tell=lambda built, of: print(f"{built} of {of} candidates", file=sys.stderr),
    )
    if args.json:
        print(json.dumps({"kit": kit.id, "candidates": kit.candidates, "failed": kit.failed}))
        return 0
    print(
        f"{kit.path}: {kit.candidates} candidates, {kit.bytes / 1e6:.1f} MB\n"
        f"on the board: tar xf {kit.path.name} && sh bnn-kit-{kit.id}/run.sh results.json\n"
        "then here: bnnc tune ... --import-results results.json"
    )
    return 0


def _refuse_unused(args: Arguments) -> None:
    """Raise InputError for budgets and files that this way of tuning would not look at."""
    unused = {
        "--export-candidates": ("journal", "minutes") if args.export_candidates else (),
        "--import-results": ("trials", "minutes") if args.import_results else (),
    }
    for way, names in unused.items():
        for name in names:
            if getattr(args, name) is not None:
                raise InputError(f"--{name} has no meaning with {way}")


def _subject(args: Arguments) -> "Subject":
    """What every way of tuning needs to know."""
    from bnn_compiler.options import Options
    from bnn_compiler.tune.network import Subject

    options = Options.of(
        input_dtype=args.input_dtype,
        mean=args.mean,
        std=args.std,
        allow_reorder=args.allow_reorder,
    )
    return Subject.of(
        args.model,
        examples(args),
        target=args.target,
        schedules=args.schedules,
        options=options,
        checkpoint=args.checkpoint,
        batches=args.batch,
        float_layers=float_layers(args),
        also_float=args.rest == "auto",
    )
