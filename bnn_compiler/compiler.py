"""The spine: a model and a target in, an artifact out, one call per stage."""

import logging
import re
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

from bnn_compiler import target as targets
from bnn_compiler.deploy import elf, example, glue, link, lower, package
from bnn_compiler.deploy.manifest import manifest
from bnn_compiler.deploy.program import Program
from bnn_compiler.errors import InputError
from bnn_compiler.kernels import codegen
from bnn_compiler.network import Network
from bnn_compiler.options import Options
from bnn_compiler.runtime import Artifact, load
from bnn_compiler.tune.schedules import Schedules
from bnn_compiler.verification import checking

log = logging.getLogger("bnn_compiler")
Progress = Callable[[str], None]


def compile(
    model: Any,
    example_inputs: Sequence[Any] | None = None,
    *,
    target: str | Path = "native",
    output: str | Path,
    name: str | None = None,
    checkpoint: str | Path | None = None,
    zero_weight: str = "error",
    input_dtype: str = "float32",
    mean: Sequence[float] = (0.0,),
    std: Sequence[float] = (1.0,),
    schedules: str | Path | None = None,
    as_folder: bool = False,
    threads: bool | None = None,
    allow_reorder: bool = False,
    check: bool = True,
    dump_dir: str | Path | None = None,
    progress: Progress = lambda stage: None,
) -> Artifact:
    """Compile a trained network for one device and load the result, whether or not it runs here.

    ``model`` is an nn.Module, an ExportedProgram, a ``.pt2`` path or ``package.module:factory``;
    ``example_inputs`` are tensors of the shapes to compile for (batch size included). ``target``
    is a shipped name, a TOML file or "native". ``output`` is the artifact's path: one zip file, or
    a folder if ``as_folder``. ``schedules`` is a file of tuned records that go before the shipped
    ones. ``zero_weight`` ("error", "+1", "-1") says how to read a binary
    weight that is exactly 0. With ``input_dtype`` "uint8" the program takes images as bytes and
    the network sees (byte / 255 - mean) / std, computed in the first convolution. ``threads``
    False leaves the thread pool out; None does what the target says. ``allow_reorder`` lets large
    strided float convolutions of the image add in another order, which takes half the time: still
    the same bits on every target, but not those of the order that PyTorch adds in. Before the
    artifact is written, ``check`` compares it with the module on the example inputs, layer by
    layer, if this machine can run it. ``dump_dir`` gets the IR after every phase.

    Raises ModelError, UnsupportedError, InputError, TargetError, ScheduleError, BuildError,
    ArtifactError, or MismatchError if the check fails.
    """
    if name is not None and not (name.isidentifier() and name.isascii()):
        raise InputError(f"name {name!r}: give a C identifier, or none to take the output's")
    device = targets.load(target)
    if threads is not None:
        device = replace(device, threads=threads)
    codegen.check(device)
    tools = link.toolchain(device.arch, device.link)
    known = Schedules.load(device, Path(schedules) if schedules else None)
    options = Options.of(zero_weight, input_dtype, mean, std, allow_reorder)
    progress("import")
    network = Network.of(model, example_inputs, checkpoint=checkpoint)
    progress("passes")
    graph = network.fused(options, Path(dump_dir) if dump_dir else None)
    prefix = name or _identifier(Path(output).stem)
    progress("kernels")
    program, functions = lower.lower(graph, known, prefix)
    if not any(s.op == "bnn.conv2d" for s in program.steps):
        log.warning("no binary layer was recognised: this network runs as float kernels only")
    with tempfile.TemporaryDirectory(prefix="bnnc-") as folder:
        files = build_files(Path(folder), prefix, program, functions, device, tools, progress)
        description = manifest(
            program, prefix, known, network.source_hash, zero_weight, options.normalization
        )
        description["code_bytes"] = elf.code_bytes(files[f"{prefix}.so"])
        if check:
            progress("check")
            draft = Path(folder) / "draft"
            package.write_artifact(draft, description, files, as_folder=True)
            checking.check_draft(draft, network, options, progress)
        progress("package")
        package.write_artifact(Path(output), description, files, as_folder=as_folder)
    return load(output, run_here=False)


def _identifier(text: str) -> str:
    """A C name made of ``text``."""
    name = re.sub(r"\W", "_", text, flags=re.ASCII)
    return name if re.match(r"[A-Za-z]", name) else f"net{name}"


def build_files(
    folder: Path,
    name: str,
    program: Program,
    functions: dict[str, Any],
    device: targets.Target,
    tools: link.Toolchain,
    progress: Progress,
) -> dict[str, Path]:
    """The files of the artifact, built in ``folder``."""
    progress("codegen")
    halves = [dict(list(functions.items())[i::2]) for i in (0, 1)]
    with ThreadPoolExecutor(2) as pool:
        modules = list(pool.map(lambda part: codegen.build(part, device), filter(None, halves)))
    objects = [folder / f"kernels{i}.o" for i in range(len(modules))]
    for module, path in zip(modules, objects, strict=True):
        codegen.write_object(module, path)
    progress("link")
    (folder / f"{name}.h").write_text(glue.header(program, name, threads=device.threads))
    # Half of L2 for the next step; only measured on x86.
    ahead = device.hardware.l2_kib * 512 if device.arch == "x86_64" else 0
    (folder / f"{name}.c").write_text(glue.source(program, name, ahead))
    (folder / "weights.bin").write_bytes(program.weights)
    (folder / f"{name}.S").write_text(glue.weights_assembly(name, "weights.bin"))
    shared, static = link.build(folder, name, objects, tools, threads=device.threads)
    sample = folder / "example.c"
    sample.write_text(example.source(program, name, tools, threads=device.threads))
    return {p.name: p for p in (shared, static, folder / f"{name}.h", sample)}
