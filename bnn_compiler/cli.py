"""The command ``bnnc``: arguments in, one call, a table or JSON out.

Exit codes: 0 done; 1 verification found a mismatch, or check that a network will not compile;
2 wrong usage or a clear error of the project's family; 130 interrupted.
"""

import argparse
import io
import json
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bnn_compiler.commands import check, device, latency
from bnn_compiler.commands import search as searching
from bnn_compiler.commands import tune as tuning
from bnn_compiler.commands.common import (
    DEVICE,
    SECRET,
    Arguments,
    add_batch,
    add_input,
    add_model,
    examples,
    load,
    random_inputs,
    read,
    samples,
    sizes,
    table,
)
from bnn_compiler.commands.int8 import add_calibration, add_rest, calibration
from bnn_compiler.errors import BnnCompilerError, InputError, MismatchError
from bnn_compiler.files import replace_bytes
from bnn_compiler.version import __version__

if TYPE_CHECKING:
    from bnn_compiler.runtime import Artifact
    from bnn_compiler.runtime.manifest import StepEntry
    from bnn_compiler.target import Gpu, Hardware

_EMULATE = "run another machine's artifact under qemu"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("bnnc", description="Compile binary neural networks.")
    parser.add_argument("--version", action="version", version=f"bnnc {__version__}")
    commands = parser.add_subparsers(dest="command", required=True)

    def command(name: str, text: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text)
        sub.add_argument("--json", action="store_true", help="print JSON")
        return sub

    compile_ = command("compile", "compile a network to an artifact")
    add_model(compile_)
    compile_.add_argument("--target", default="native", help="name or TOML file (default: native)")
    compile_.add_argument("-o", "--output", required=True, type=Path)
    compile_.add_argument("--folder", action="store_true", help="a folder instead of one file")
    compile_.add_argument(
        "--zero-weight",
        choices=["exact", "error", "+1", "-1"],
        default="exact",
        help="binary weights that are 0: compute them, refuse them, or change the network",
    )
    compile_.add_argument(
        "--batch",
        type=sizes,
        help="batch sizes, e.g. 1,8,32: one artifact holds them all, its weights once",
    )
    add_input(compile_)
    add_rest(compile_)
    add_calibration(compile_)
    compile_.add_argument("--schedules", type=Path, help="tuned records, before the shipped ones")
    compile_.add_argument("--no-threads", action="store_true", help="leave the thread pool out")
    compile_.add_argument(
        "--no-check", action="store_true", help="do not compare the result with PyTorch's"
    )
    compile_.add_argument("--dump-dir", type=Path, help="write the IR after every phase here")

    check.add(command("check", "what a network would run as, without compiling it"))
    tune = command("tune", "find the fastest schedules of a network's kernels")
    tuning.add(tune)

    searching.add(command("search", "search for the channels that are worth their time"))
    latency.add_predict(command("predict", "the time of a network without compiling it"))
    latency.add_calibrate(command("calibrate", "make a latency model of this machine"))

    run = command("run", "run an artifact on .npy inputs")
    run.add_argument("artifact", type=Path)
    run.add_argument("--input", action="append", required=True, type=Path)
    run.add_argument("--output", action="append", required=True, type=Path)
    run.add_argument("--threads", type=int, default=1)
    run.add_argument("--emulate", action="store_true", help=_EMULATE)

    for name, text in (("bench", "time an artifact"), ("profile", "time each layer")):
        sub = command(name, text)
        sub.add_argument("artifact", type=Path)
        sub.add_argument("--threads", type=int, default=1)
        sub.add_argument("--repeat", type=int, default=50)
        add_batch(sub)
        if name == "bench":
            sub.add_argument("--device", help=DEVICE)
            sub.add_argument("--secret", type=Path, metavar="FILE", help=SECRET)
        else:
            sub.add_argument("--html", type=Path, help="write a page with charts here")

    verify = command("verify", "compare an artifact with its network, layer by layer")
    verify.add_argument("artifact", type=Path)
    add_model(verify)
    verify.add_argument(
        "--input",
        type=Path,
        action="append",
        help=".npy file, again for each further input and sample; default: random samples",
    )
    verify.add_argument("--emulate", action="store_true", help=_EMULATE)

    inspect = command("inspect", "show what an artifact is")
    inspect.add_argument("artifact", type=Path)
    server = command("device-server", "build the small RPC server of a board")
    server.add_argument("--target", required=True, help="name or TOML file")
    server.add_argument("-o", "--output", required=True, type=Path)
    command("targets", "list the targets and which fits this CPU")
    return parser


def _compile(args: Arguments) -> int:
    import bnn_compiler

    artifact = bnn_compiler.compile(
        args.model,
        examples(args),
        target=args.target,
        output=args.output,
        checkpoint=args.checkpoint,
        zero_weight=args.zero_weight,
        input_dtype=args.input_dtype,
        mean=args.mean,
        std=args.std,
        allow_reorder=args.allow_reorder,
        schedules=args.schedules,
        as_folder=args.folder,
        threads=False if args.no_threads else None,
        check=not args.no_check,
        batches=args.batch,
        dump_dir=args.dump_dir,
        **calibration(args),
        progress=_tell,
    )
    if args.json:
        print(json.dumps(artifact.manifest))
        return 0
    print(_summary(artifact))
    if advice := tuning.advice(artifact.description):
        print(advice)
    return 0


def _tell(stage: str) -> None:
    """Say on a terminal what is being done; a log has sentences only, and what comes of it."""
    if " " in stage:
        print(stage, file=sys.stderr)
    elif sys.stderr.isatty():
        print(f"{stage} ...", file=sys.stderr)


def _run(args: Arguments) -> int:
    import numpy as np

    artifact = load(args)
    results = artifact.run(*(read(p) for p in args.input))
    results = results if isinstance(results, tuple) else (results,)
    if len(results) != len(args.output):
        raise InputError(
            f"the network has {len(results)} outputs, --output was given for {len(args.output)}"
        )
    for path in args.output:
        if path.is_dir():
            raise InputError(f"--output {path} is a folder; name a file")
    for path, value in zip(args.output, results, strict=True):
        data = io.BytesIO()
        np.save(data, value)
        replace_bytes(path, data.getvalue())
    return 0


def _profile(args: Arguments) -> int:
    from bnn_compiler import report, roofline
    from bnn_compiler.report import html
    from bnn_compiler.runtime import cpu

    artifact = load(args)
    target = artifact.description.target
    layers = artifact.profile(*random_inputs(artifact), repeat=args.repeat)
    gpu = artifact.gpu
    peaks, why = None, "peaks of GPUs are not measured"
    if not gpu:
        peaks, why = roofline.peaks(target.features, artifact.threads)
    found = report.ProfileReport(
        _name(args), target.name, gpu or cpu.name(), artifact.threads, layers, peaks, why
    )
    if args.html:
        html.write(found, args.html)
    if args.json:
        print(json.dumps(found.as_dict()))
        return 0
    table(report.COLUMNS, found.rows())
    print("\n".join(found.summary()))
    return 0


def _name(args: Arguments) -> str:
    """The artifact's file, and which of its batch sizes is meant."""
    return f"{args.artifact.name}" + ("" if args.batch is None else f", a batch of {args.batch}")


def _verify(args: Arguments) -> int:
    from bnn_compiler.verification import verify

    artifact = load(args)
    report = verify(artifact, args.model, samples(artifact, args.input), checkpoint=args.checkpoint)
    print(json.dumps(report.as_dict()) if args.json else report.text())
    return 0 if report.ok else 1


def _summary(artifact: "Artifact") -> str:
    """What was made, in two lines."""
    manifest = artifact.description
    sizes_ = ", ".join(
        f"{kind} {t.name} {t.dtype} {list(t.shape)}"
        for kind, tensors in (("input", manifest.inputs), ("output", manifest.outputs))
        for t in tensors
    )
    more = f", batches {', '.join(map(str, artifact.batches))}" if len(artifact.batches) > 1 else ""
    return (
        f"{artifact.path}: {artifact.size_bytes / 1e6:.2f} MB for {manifest.target.name},"
        f" {len(manifest.steps)} kernel calls, {_layers([s for s in manifest.steps if s.binary])}\n"
        f"  {sizes_}{more}; bnnc inspect says more"
    )


def _show_manifest(artifact: "Artifact", as_json: bool) -> None:
    if as_json:
        print(json.dumps(artifact.manifest))
        return
    manifest = artifact.description
    binary = [s for s in manifest.steps if s.binary]
    print(f"{artifact.path}: {artifact.size_bytes / 1e6:.2f} MB for {manifest.target.name}")
    for kind, tensors in (("input", manifest.inputs), ("output", manifest.outputs)):
        for t in tensors:
            print(f"  {kind} {t.name} {t.dtype} {list(t.shape)}")
    if len(artifact.batches) > 1:
        memory = ", ".join(f"{p.workspace_bytes / 1e6:.2f}" for p in manifest.programs)
        print(f"  batches {', '.join(map(str, artifact.batches))}, workspaces {memory} MB")
    print(
        f"  {len(manifest.steps)} kernel calls, {_layers(binary)}"
        f" ({sum(s.macs for s in binary) / 1e9:.3f} G binary MACs),"
        f" workspace {manifest.workspace_bytes / 1e6:.2f} MB"
    )
    if manifest.int8:
        print(f"  int8: {', '.join(r.layer for r in manifest.int8)}")
    if manifest.rest:
        rest = manifest.rest
        for one in rest.layers:
            print(
                f"  {one.layer}: {one.kind}, {one.why}; int8 saves {1e6 * one.saved:.1f} us and"
                f" turns {one.flipped:.2%} of the signs behind it around"
            )
        print(
            f"  chosen within {rest.tolerance:.1%}: the top-1 class of {rest.changed:.1%} of"
            f" {rest.samples} samples changes"
        )
    print(
        f"  code {manifest.code_bytes / 1e3:.1f} kB,"
        f" weights {manifest.weights_bytes / 1e6:.2f} MB,"
        f" {'threads' if manifest.threads else 'no threads'}"
    )
    sources = Counter((s.source, s.measured_on) for s in manifest.steps)
    counts = ", ".join(
        f"{n} {source}" + (f" of {cpu}" if cpu else "")
        for (source, cpu), n in sorted(sources.items())
    )
    stale = manifest.stale_records
    print(f"  schedules: {counts}" + (f"; {stale} stale records refused" if stale else ""))


def _layers(binary: "Sequence[StepEntry]") -> str:
    """How many layers these kernels are, and how many of those have zeros among their weights."""
    layers = {s.name for s in binary}
    ternary = {s.name for s in binary if any(f.startswith("ternary weights") for f in s.fused)}
    text = f"{len(layers)} binary layers"
    text += f" in {len(binary)} kernels" if len(binary) > len(layers) else ""
    return text + (f", {len(ternary)} of ternary weights" if ternary else "")


def _inspect(args: Arguments) -> int:
    from bnn_compiler.runtime import load

    _show_manifest(load(args.artifact, run_here=False), args.json)
    return 0


def _targets(args: Arguments) -> int:
    from bnn_compiler import target
    from bnn_compiler.errors import TargetError

    try:
        here = target.native().name
    except TargetError:
        here = ""
    known = [target.load(n) for n in target.names()]
    if args.json:
        print(
            json.dumps([{"name": t.name, "arch": t.arch, "native": t.name == here} for t in known])
        )
        return 0
    rows = [[t.name, t.arch, *_signs(t.hardware), "*" * (t.name == here)] for t in known]
    table(["target", "arch", "SIMD bits", "popcount", "native"], rows)
    return 0


def _signs(hardware: "Hardware | Gpu") -> tuple[str, str]:
    """The width of a vector, and the form of popcount."""
    from bnn_compiler.target import Hardware

    if isinstance(hardware, Hardware):
        return str(hardware.vector_bits), hardware.popcount
    return "", "popc"


_COMMANDS: dict[str, Callable[[Arguments], int]] = {
    "compile": _compile,
    "check": check.run,
    "tune": tuning.run,
    "search": searching.run,
    "predict": latency.predict,
    "calibrate": latency.calibrate,
    "run": _run,
    "bench": device.bench,
    "profile": _profile,
    "verify": _verify,
    "inspect": _inspect,
    "device-server": device.device_server,
    "targets": _targets,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; errors of the project's family become one line and exit code 2."""
    args = _parser().parse_args(argv)
    try:
        return _COMMANDS[args.command](args)
    except MismatchError as e:
        print(f"bnnc: {e}", file=sys.stderr)
        return 1
    except BnnCompilerError as e:
        print(f"bnnc: {e}", file=sys.stderr)
        return 2
    except OSError as e:
        print(f"bnnc: {e}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("bnnc: interrupted", file=sys.stderr)
        return 130
