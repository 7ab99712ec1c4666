"""Time a whole artifact on a machine that is not this one."""

import statistics
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from bnn_compiler.deploy.cpu import link, static
from bnn_compiler.device import program
from bnn_compiler.device.address import Address
from bnn_compiler.device.boards import Boards
from bnn_compiler.device.measure import Outcome, Plan
from bnn_compiler.device.program import Buffer, Program
from bnn_compiler.device.secret import Secret
from bnn_compiler.errors import DeviceError, InputError
from bnn_compiler.runtime import files
from bnn_compiler.target import Link

#: Runs whose times fit a result, and seconds all of them may take.
_MOST_REPEATS, _LIMIT = 2000, 300


def bench(
    path: str | Path,
    device: str,
    *,
    threads: int = 1,
    repeat: int = 50,
    secret: str | Path | None = None,
) -> dict[str, float]:
    """``median_ms`` and ``min_ms`` of ``repeat`` runs of the artifact on the board at ``device``.

    Its archive is linked into a program that runs it on random inputs. ``secret`` is the file that
    the board's server was given. Raises InputError for a
    number out of range, ArtifactError for a damaged or too old artifact, BuildError if nothing
    here can link for it, DeviceError if the board cannot be used or the network fails there.
    """
    if threads < 1 or not 1 <= repeat <= _MOST_REPEATS:
        raise InputError(f"threads {threads}, repeat {repeat}: give 1 or more, at most 2000 runs")
    path = Path(path)
    found = files.read(path)
    arch = static.arch_of(found, "linked for a board")
    known = None if secret is None else Secret.read(secret)
    boards = Boards(Address.parse(device), arch, Link(zig=f"{arch}-linux-musl"), known)
    outcomes: dict[int, Outcome] = {}
    with tempfile.TemporaryDirectory(prefix="bnnc-bench-") as folder:
        built = _build(Path(folder), found, boards.tools)
        plan = Plan(repeat, 0.0, _LIMIT, threads)
        boards.measure([built], plan, outcomes.__setitem__)
    timed = outcomes[0].found
    if timed is None:
        raise DeviceError(f"{path} on {device}: {outcomes[0].error}")
    return {
        "median_ms": 1e3 * statistics.median(timed.seconds),
        "min_ms": 1e3 * min(timed.seconds),
    }


def _build(folder: Path, found: files.Files, tools: link.Toolchain) -> Program:
    manifest = found.manifest
    name, source = manifest["name"], folder / "bench.c"
    ins = [_buffer(t, None) for t in manifest["inputs"]]
    outs = [_buffer(t, "OUTPUT") for t in manifest["outputs"]]
    buffers = [*ins, *outs, Buffer("SCRATCH", manifest["workspace_bytes"])]
    steps = f"{name}_run_steps((const void *const *)p, p + {len(ins)}, p[{len(buffers) - 1}]"
    source.write_text(
        program.trial_source(
            name,
            buffers,
            f"int32_t {name}_run_steps(const void *const *inputs, void *const *outputs,"
            " void *workspace, int32_t first, int32_t last, double *seconds);\n"
            f"int32_t {name}_set_threads(int32_t n);\n",
            f"{steps}, 0, {len(manifest['steps'])}, 0)",
            f"{name}_set_threads(n)",
        )
    )
    built = Program(folder / "bench.run")
    built.constants.write_bytes(b"")
    sources = [program.HERE / "trial.c", source, *static.unpack(found, folder)]
    program.executable(tools, built.path, sources, static=True, threads=True)
    return built


def _buffer(tensor: dict[str, Any], fill: str | None) -> Buffer:
    dtype = np.dtype(tensor["dtype"])
    size = int(np.prod(tensor["shape"])) * dtype.itemsize
    return Buffer(fill or ("FLOATS" if dtype.kind == "f" else "BITS"), size)
