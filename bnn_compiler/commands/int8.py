"""Arguments of commands that may run what is not binary as int8."""

import argparse
import importlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bnn_compiler.commands.common import Arguments, examples, read, read_all
from bnn_compiler.errors import InputError

if TYPE_CHECKING:
    from bnn_compiler.options import Options
    from bnn_compiler.quantization import Choices


def add_rest(parser: argparse.ArgumentParser) -> None:
    """What layers that are not binary run as."""
    parser.add_argument(
        "--rest",
        choices=["float32", "int8", "auto"],
        default="float32",
        help="what convolutions and linear layers that are not binary run as; auto: each as what is"
        " faster, within --tolerance (tune: measure both)",
    )
    parser.add_argument(
        "--float",
        action="append",
        default=[],
        metavar="LAYER",
        help="with --rest int8 or auto: leave this layer in float, again for each further one",
    )


def float_layers(args: Arguments) -> list[str] | None:
    """Layers that stay in float where the others become int8; None where none does.

    Raises InputError for layers that nobody would look for.
    """
    if args.float and args.rest == "float32":
        raise InputError("--float has no meaning without --rest int8 or auto")
    return None if args.rest == "float32" else args.float


def add_calibration(parser: argparse.ArgumentParser) -> None:
    """The images that ranges come from."""
    parser.add_argument(
        "--calibrate",
        metavar="SAMPLES",
        help="with --rest int8 or auto: images as the network takes them, in a .npy file"
        " [N, C, H, W], a folder of such files, or what package:factory returns; in a .npz file"
        " each of a network's inputs",
    )
    parser.add_argument(
        "--calibrate-by",
        choices=["min-max", "percentile", "mse", "entropy"],
        help="how ranges are chosen (default: mse)",
    )
    parser.add_argument(
        "--tolerance",
        type=float,
        metavar="SHARE",
        help="with --rest auto: of these samples so many may have another top-1 class (default:"
        " 0.01)",
    )


def calibration(args: Arguments) -> dict[str, Any]:
    """Arguments of ``compile``. Raises InputError for samples that there are not."""
    if args.calibrate_by is not None and args.rest == "float32":
        raise InputError("--calibrate-by has no meaning without --rest int8 or auto")
    if args.tolerance is not None and args.rest != "auto":
        raise InputError("--tolerance has no meaning without --rest auto")
    found: dict[str, Any] = {"rest": args.rest, "float_layers": args.float}
    if args.calibrate is not None:
        found["calibration"] = _samples(args.calibrate)
    if args.calibrate_by is not None:
        found["calibrate_by"] = args.calibrate_by
    if args.tolerance is not None:
        found["tolerance"] = args.tolerance
    return found


def chosen(args: Arguments, options: "Options", batch: int | None) -> "Choices | None":
    """What --rest auto makes of the layers that are not binary; None of another --rest.

    Raises InputError for samples that nobody would look at, and what ``compile`` raises.
    """
    given = calibration(args)
    if args.rest != "auto":
        for name in ("calibrate", "calibrate_by"):
            if getattr(args, name) is not None:
                flag = f"--{name.replace('_', '-')}"
                raise InputError(f"{flag} has no meaning here without --rest auto")
        return None
    from bnn_compiler import target as targets
    from bnn_compiler.cost.pick import Schedules
    from bnn_compiler.network import Network
    from bnn_compiler.options import check_int8
    from bnn_compiler.quantization import DEFAULT_TOLERANCE, choices

    wanted = targets.load(args.target)
    check_int8(wanted, args.rest)
    known = Schedules.load(wanted, args.schedules)
    network = Network.of_batch(args.model, examples(args), batch, checkpoint=args.checkpoint)
    found, _ = choices(
        network,
        options,
        known,
        given.get("calibration"),
        method=given.get("calibrate_by"),
        float_layers=args.float,
        tolerance=given.get("tolerance", DEFAULT_TOLERANCE),
        tell=lambda line: print(line, file=sys.stderr),
    )
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
