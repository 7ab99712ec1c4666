"""Arguments of commands that may run what is not binary as int8."""

import argparse
import importlib
import sys
from pathlib import Path
from typing import Any

from bnn_compiler.commands.common import Arguments, read
from bnn_compiler.errors import InputError


def add_rest(parser: argparse.ArgumentParser) -> None:
    """What layers that are not binary run as."""
    parser.add_argument(
        "--rest",
        choices=["float32", "int8"],
        default="float32",
        help="what convolutions and linear layers that are not binary run as",
    )
    parser.add_argument(
        "--float",
        action="append",
        default=[],
        metavar="LAYER",
        help="with --rest int8: leave this layer in float, again for each further one",
    )


def add_calibration(parser: argparse.ArgumentParser) -> None:
    """The images that ranges come from."""
    parser.add_argument(
        "--calibrate",
        metavar="SAMPLES",
        help="with --rest int8: images as the network takes them, in a .npy file [N, C, H, W], a"
        " folder of such files, or what package:factory returns",
    )
    parser.add_argument(
        "--calibrate-by",
        choices=["min-max", "percentile", "mse", "entropy"],
        help="how ranges are chosen (default: mse)",
    )


def calibration(args: Arguments) -> dict[str, Any]:
    """Arguments of ``compile``. Raises InputError for samples that there are not."""
    if args.calibrate_by is not None and args.rest != "int8":
        raise InputError("--calibrate-by has no meaning without --rest int8")
    found: dict[str, Any] = {"rest": args.rest, "float_layers": args.float}
    if args.calibrate is not None:
        found["calibration"] = _samples(args.calibrate)
    if args.calibrate_by is not None:
        found["calibrate_by"] = args.calibrate_by
    return found


def _samples(text: str) -> list[Any]:
    path = Path(text)
    if path.is_dir():
        return [read(p) for p in sorted(path.glob("*.npy"))]
    if path.suffix == ".npy" or ":" not in text:
        return [read(path)]
    module, _, name = text.partition(":")
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        factory = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as e:
        raise InputError(f"cannot find {text}: {e}") from e
    try:
        return list(factory())
    except Exception as e:
        raise InputError(f"{text} gives no samples: {e!r}") from e
