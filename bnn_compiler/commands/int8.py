"""Arguments of commands that may run what is not binary as int8."""

import argparse
import importlib
import sys
from pathlib import Path
from typing import Any

from bnn_compiler.commands.common import Arguments, read, read_all
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


def float_layers(args: Arguments) -> list[str] | None:
    """Layers that stay in float where the others become int8; None where none does.

    Raises InputError for layers that nobody would look for.
    """
    if args.float and args.rest != "int8":
        raise InputError("--float has no meaning without --rest int8")
    return args.float if args.rest == "int8" else None


def add_calibration(parser: argparse.ArgumentParser) -> None:
    """The images that ranges come from."""
    parser.add_argument(
        "--calibrate",
        metavar="SAMPLES",
        help="with --rest int8: images as the network takes them, in a .npy file [N, C, H, W], a"
        " folder of such files, or what package:factory returns; in a .npz file each of a network's"
        " inputs",
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
        files = sorted(p for p in path.iterdir() if p.suffix in (".npy", ".npz"))
        if not files:
            raise InputError(f"folder {path} has no .npy or .npz files")
        return [_sample(p) for p in files]
    if path.suffix in (".npy", ".npz") or ":" not in text:
        return [_sample(path)]
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


def _sample(path: Path) -> Any:
    """The array of a .npy file, or those of a .npz file, one for each of the network's inputs."""
    return tuple(read_all(path).values()) if path.suffix == ".npz" else read(path)
