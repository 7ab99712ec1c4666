"""``bnnc check``."""

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bnn_compiler.commands.common import (
    Arguments,
    add_batches,
    add_input,
    add_model,
    batches,
    examples,
    table,
)
from bnn_compiler.commands.int8 import add_calibration, add_rest, chosen, float_layers
from bnn_compiler.errors import ModelError, UnsupportedError

if TYPE_CHECKING:
    from bnn_compiler.latency.preview import Preview
    from bnn_compiler.options import Options


def add(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``bnnc check``."""
    add_model(parser)
    parser.add_argument("--target", default="native", help="name or TOML file (default: native)")
    add_input(parser)
    add_batches(parser)
    add_rest(parser)
    add_calibration(parser)
    parser.add_argument("--schedules", type=Path, help="tuned records, before the shipped ones")
    parser.add_argument(
        "--operators",
        action=_Operators,
        nargs=0,
        help="list the operators of PyTorch and of ONNX that compile",
    )


class _Operators(argparse.Action):
    """Like --version: it needs no network."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        from bnn_compiler.frontend.onnx import operators
        from bnn_compiler.frontend.pytorch import supported

        print("\n".join([*supported.names(), *(f"onnx.{name}" for name in operators.names())]))
        parser.exit()


def run(args: Arguments) -> int:
    """What each layer would run as, and what cannot be compiled; 1 if anything cannot."""
    from bnn_compiler.options import Options

    options = Options.of("exact", args.input_dtype, args.mean, args.std, args.allow_reorder)
    found = {batch: _previewed(args, options, batch) for batch in batches(args)}
    if args.json:
        each = {batch: one.as_dict() for batch, one in found.items()}
        print(json.dumps(each if args.batch else each[None]))
    for batch, one in () if args.json else found.items():
        if batch is not None:
            print(f"batch {batch}:")
        _show(one)
    return 0 if all(one.compiles for one in found.values()) else 1


def _previewed(args: Arguments, options: "Options", batch: int | None) -> "Preview":
    from bnn_compiler.latency.preview import preview

    kept_in_float, rest, why = float_layers(args), None, ""
    try:
        rest = chosen(args, options, batch)
    except (ModelError, UnsupportedError) as e:
        kept_in_float = None
        why = (
            f"all that is not binary is shown in float32, since --rest auto could not be tried: {e}"
        )
    if rest is not None:
        kept_in_float = [*args.float, *rest.in_float]
    found = preview(
        args.model,
        examples(args),
        checkpoint=args.checkpoint,
        target=args.target,
        schedules=args.schedules,
        options=options,
        float_layers=kept_in_float,
        batch=batch,
    )
    return replace(found, rest=rest, note="\n".join(filter(None, [found.note, why])))


def _show(found: "Preview") -> None:
    total = found.seconds
    if found.lines:
        rows = [
            [
                line.layer,
                line.kind,
                line.family,
                line.what,
                "" if line.seconds is None else f"{1e6 * line.seconds:.1f}",
                "" if line.seconds is None or not total else f"{100 * line.seconds / total:.1f} %",
            ]
            for line in found.lines
        ]
        table(["layer", "kind", "family", "what", "us", "share"], rows)
        time = "" if total is None else f" in {1e3 * total:.3f} ms"
        print(f"{len(rows)} kernels{time} on {found.target}; {found.about}")
    if found.rest is not None:
        print("\n".join(found.rest.lines()))
    if found.note:
        print(found.note)
    for problem in found.problems:
        where = f"{problem.operator} at {problem.layer or 'the top level'}: "
        line = f" ({problem.line})" if problem.line else ""
        print(f"cannot be compiled: {where if problem.operator else ''}{problem.why}{line}")
    if found.compiles:
        print("it compiles")
    elif found.lines:
        print("it does not compile; above is what the rest of it would run as")
