"""Time a whole artifact on a machine that is not this one."""

import statistics
import tempfile
from pathlib import Path

from bnn_compiler.deploy.cpu import abi, link, static, trial
from bnn_compiler.deploy.cpu.trial import TrialBuffer, TrialProgram
from bnn_compiler.device.address import Address
from bnn_compiler.device.boards import Boards
from bnn_compiler.device.measure import Outcome, Plan
from bnn_compiler.device.secret import Secret
from bnn_compiler.errors import DeviceError, InputError
from bnn_compiler.runtime import files, load
from bnn_compiler.runtime.manifest import Manifest
from bnn_compiler.target import Link

#: Runs whose times fit a result, and seconds all of them may take.
_MOST_REPEATS, _LIMIT = 2000, 300


def bench(
    path: str | Path,
    board: str,
    *,
    threads: int = 1,
    repeat: int = 50,
    secret: str | Path | None = None,
    batch: int | None = None,
) -> dict[str, float]:
    """``median_ms`` and ``min_ms`` of ``repeat`` runs of the artifact on ``board``, e.g. "rpc://host:port/key".

    Its archive is linked into a program that runs it on random inputs. ``secret`` is the file that
    the board's server was given, ``batch`` one of the artifact's batch sizes. Raises InputError for
    a number out of range, ArtifactError for a damaged or too old artifact, BuildError if nothing
    here can link for it, DeviceError if the board cannot be used or the network fails there.
    """
    if threads < 1 or not 1 <= repeat <= _MOST_REPEATS:
        raise InputError(f"threads {threads}, repeat {repeat}: give 1 or more, at most 2000 runs")
    path = Path(path)
    found = files.read(path)
    arch = static.arch_of(found, "linked for a board")
    program = found.description
    if batch is not None:
        program = load(path, run_here=False).at(batch).description
    machine = boards(board, arch, secret)
    outcomes: dict[int, Outcome] = {}
    with tempfile.TemporaryDirectory(prefix="bnnc-bench-") as folder:
        built = _build(Path(folder), found, program, machine.tools)
        plan = Plan(repeat, 0.0, _LIMIT, threads)
        machine.measure([built], plan, outcomes.__setitem__)
    timed = outcomes[0].found
    if timed is None:
        raise DeviceError(f"{path} on {board}: {outcomes[0].error}")
    return {
        "median_ms": 1e3 * statistics.median(timed.seconds),
        "min_ms": 1e3 * min(timed.seconds),
    }


def boards(board: str, arch: str, secret: str | Path | None = None) -> Boards:
    """The boards at an address, for static programs of ``arch``. Raises as ``bench`` does."""
    known = None if secret is None else Secret.read(secret)
    return Boards(Address.parse(board), arch, Link(zig=f"{arch}-linux-musl"), known)


def _build(
    folder: Path, found: files.Files, manifest: Manifest, tools: link.Toolchain
) -> TrialProgram:
    name, network, source = manifest.name, found.description.name, folder / "bench.c"
    fills = {"float32": "FLOATS", "uint8": "BITS"}
    buffers = [TrialBuffer(fills.get(t.dtype, "BITS"), t.bytes) for t in manifest.inputs]
    buffers += [TrialBuffer("OUTPUT", t.bytes) for t in manifest.outputs]
    ins, workspace = len(manifest.inputs), len(buffers)
    buffers.append(TrialBuffer("SCRATCH", manifest.workspace_bytes))
    pointers = f"(const void *const *)p, p + {ins}, p[{workspace}]"
    source.write_text(
        trial.trial_source(
            name,
            buffers,
            f"{abi.RUN_STEPS.format(name=name)};\n{abi.SET_THREADS.format(name=network)};\n",
            f"{name}_run_steps({pointers}, 0, {len(manifest.steps)}, 0)",
            f"{network}_set_threads(n)",
        )
    )
    built = TrialProgram(folder / "bench.run")
    built.constants.write_bytes(b"")
    sources = [trial.SOURCE, source, *static.unpack(found, folder)]
    trial.executable(tools, built.path, sources, static=True, threads=True)
    return built
