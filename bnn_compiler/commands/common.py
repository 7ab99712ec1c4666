"""What several commands share: arguments of a network, reading and writing, tables."""

import argparse
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bnn_compiler.errors import InputError

if TYPE_CHECKING:
    import torch

    from bnn_compiler.runtime import Artifact

Arguments = argparse.Namespace
#: Help of --device.
DEVICE = "measure on boards: tracker://HOST:PORT/KEY or rpc://HOST:PORT/KEY"
#: Help of --secret.
SECRET = "file that the boards' bnn-server was given too; both sides prove that they know it"


def check_secret(args: Arguments) -> None:
    """Raise InputError for a --secret that nobody would be asked for."""
    if args.secret and not args.device:
        raise InputError("--secret has no meaning without --device")


def add_input(parser: argparse.ArgumentParser) -> None:
    """How a network takes images."""
    parser.add_argument("--input-dtype", choices=["float32", "uint8"], default="float32")
    for name, default in (("mean", 0.0), ("std", 1.0)):
        parser.add_argument(
            f"--{name}",
            type=_numbers,
            default=(default,),
            help=f"for uint8 input: {name} of the pixels in 0..1, one or one per channel",
        )
    parser.add_argument(
        "--allow-reorder",
        action="store_true",
        help="let the first convolution add in another order, in half the time; on a GPU, float"
        " layers run on tensor cores in half precision",
    )


def add_model(parser: argparse.ArgumentParser) -> None:
    """A network and its weights."""
    parser.add_argument("model", help="a .pt2 or .onnx file, or package.module:factory")
    parser.add_argument("--checkpoint", type=Path, help="weights to load, strictly")
    parser.add_argument(
        "--shape",
        action="append",
        help="input shape for a factory or a file that leaves it open, e.g. 1,3,224,224 or"
        " 1,128:int64; again for each input",
    )


def add_batch(parser: argparse.ArgumentParser) -> None:
    """Which of an artifact's batch sizes is meant."""
    parser.add_argument("--batch", type=int, help="one of its batch sizes (default: the first)")


def add_batches(parser: argparse.ArgumentParser) -> None:
    """The batch sizes that a command goes through."""
    parser.add_argument(
        "--batch", type=sizes, help="batch sizes, e.g. 1,8,32 (default: that of --shape)"
    )


def batches(args: Arguments) -> tuple[int | None, ...]:
    """Those of --batch, or None for that of the inputs. Raises InputError for one given twice."""
    given: tuple[int | None, ...] = args.batch or (None,)
    if len(set(given)) < len(given):
        raise InputError(f"--batch {','.join(map(str, given))}: give different sizes")
    return given


def sizes(text: str) -> tuple[int, ...]:
    """ "1,8,32" as batch sizes; argparse turns the ValueError into its own message."""
    return tuple(int(v) for v in text.split(","))


def _numbers(text: str) -> tuple[float, ...]:
    """ "0.5,0.4" as numbers; argparse turns the ValueError into its own message."""
    return tuple(float(v) for v in text.split(","))


def examples(args: Arguments) -> list[Any] | None:
    """Random inputs of each --shape, or None without. Raises InputError for no shape."""
    if args.shape is None:
        return None
    import torch

    random = torch.Generator().manual_seed(0)
    return [_example(text, random) for text in args.shape]


def _example(text: str, random: "torch.Generator") -> "torch.Tensor":
    import torch

    sizes_, _, dtype = text.partition(":")
    try:
        shape = [int(v) for v in sizes_.split(",")]
        if min(shape) < 1 or dtype not in ("", "float32", "bool", "uint8", "int32", "int64"):
            raise ValueError("sizes are at least 1")
    except ValueError as e:
        raise InputError(
            f"--shape {text!r}: give integers, e.g. 1,3,224,224, and for other inputs than float32"
            " :bool, :uint8, :int32 or :int64"
        ) from e
    if dtype in ("", "float32"):
        return torch.randn(shape, generator=random)
    # Whatever they index has these.
    return torch.randint(0, 2, shape, generator=random).to(getattr(torch, dtype))


def load(args: Arguments) -> "Artifact":
    """The artifact that is asked for, emulated where that is."""
    if getattr(args, "emulate", False):
        from bnn_compiler.deploy.cpu import emulate

        artifact = emulate.load(args.artifact)
        artifact.check_runs_here()
    else:
        from bnn_compiler import runtime

        artifact = runtime.load(args.artifact)
    artifact.set_threads(getattr(args, "threads", 1))
    batch = getattr(args, "batch", None)
    return artifact if batch is None else artifact.at(batch)


def read(path: Path) -> Any:
    """An array of a .npy file. Raises InputError if it is none."""
    found = _read(path)
    if isinstance(found, dict):
        names = ", ".join(found) or "none"
        raise InputError(f"{path} is an archive of arrays ({names}); give one array, a .npy file")
    return found


def read_all(path: Path) -> dict[str, Any]:
    """The arrays of a .npz file by name. Raises InputError if it is none."""
    found = _read(path)
    if not isinstance(found, dict):
        raise InputError(f"{path} is one array; as .npz, give an archive of arrays")
    return found


def _read(path: Path) -> Any:
    import numpy as np

    try:
        found = np.load(path, allow_pickle=False)
        if isinstance(found, np.lib.npyio.NpzFile):
            with found:
                return dict(found)
        return found
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as e:
        raise InputError(f"cannot read {path} as {path.suffix or '.npy'}: {e}") from e


def random_inputs(artifact: "Artifact") -> list[Any]:
    """One array for each input, the same every time."""
    from bnn_compiler.runtime.tensors import noise

    return noise(artifact.description.inputs)


def samples(artifact: "Artifact", paths: Sequence[Path] | None) -> list[tuple[Any, ...]]:
    """The files as samples of the network; without any, noise, and noise with black pixels, of each
    of its batch sizes.

    Raises InputError if the last sample is not whole.
    """
    count = len(artifact.description.inputs)
    if not paths:
        return [s for n in artifact.batches for s in _noise(artifact.at(n))]
    arrays = [read(p) for p in paths]
    if len(arrays) % count:
        raise InputError(f"{len(arrays)} files for a network of {count} inputs")
    return [tuple(arrays[i : i + count]) for i in range(0, len(arrays), count)]


def _noise(artifact: "Artifact") -> list[tuple[Any, ...]]:
    noise = random_inputs(artifact)
    black = [x.copy() for x in noise]
    for x in black:
        x[..., : -(-x.shape[-1] // 3)] = 0
    return [tuple(noise), tuple(black)]


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table."""
    from rich.console import Console
    from rich.table import Table

    shown = Table(box=None, header_style="bold")
    for i, name in enumerate(columns):
        shown.add_column(name, justify="left" if i < 2 else "right", overflow="fold")
    for row in rows:
        shown.add_row(*row)
    Console(width=None if sys.stdout.isatty() else 200).print(shown)
