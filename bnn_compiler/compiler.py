"""The spine: a model and a target in, an artifact out, one call per stage."""

import hashlib
import logging
import re
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from bnn_compiler import target as targets
from bnn_compiler.deploy import elf, example, glue, link, lower, package
from bnn_compiler.deploy.manifest import manifest
from bnn_compiler.deploy.program import Program
from bnn_compiler.errors import InputError
from bnn_compiler.frontend import importer, simplify, source, trace
from bnn_compiler.frontend.trace import TracedGraph
from bnn_compiler.kernels import codegen
from bnn_compiler.passes import pipeline
from bnn_compiler.passes.byte_input import normalization_of
from bnn_compiler.passes.graph import Graph
from bnn_compiler.runtime import Artifact, load
from bnn_compiler.tune.schedules import Schedules

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
    the same bits on every target, but not those of the order that PyTorch adds in. ``dump_dir``
    gets the IR after every phase.

    Raises ModelError, UnsupportedError, InputError, TargetError, ScheduleError, BuildError or
    ArtifactError.
    """
    if name is not None and not (name.isidentifier() and name.isascii()):
        raise InputError(f"name {name!r}: give a C identifier, or none to take the output's")
    device = targets.load(target)
    if threads is not None:
        device = replace(device, threads=threads)
    codegen.check(device)
    tools = link.toolchain(device.arch, device.link)
    known = Schedules.load(device, Path(schedules) if schedules else None)
    normalization = normalization_of(input_dtype, mean, std)
    progress("import")
    traced, source_hash = trace_model(model, example_inputs, checkpoint=checkpoint)
    progress("passes")
    module = importer.to_relax(traced)
    del traced  # Its folded weights are as large as the model.
    module = pipeline.run(
        module,
        zero_weight=zero_weight,
        byte_input=normalization,
        allow_reorder=allow_reorder,
        dump_dir=Path(dump_dir) if dump_dir else None,
    )
    prefix = name or _identifier(Path(output).stem)
    progress("kernels")
    program, functions = lower.lower(Graph.of(module), known, prefix)
    del module
    if not any(s.op == "bnn.conv2d" for s in program.steps):
        log.warning("no binary layer was recognised: this network runs as float kernels only")
    with tempfile.TemporaryDirectory(prefix="bnnc-") as folder:
        files = build_files(Path(folder), prefix, program, functions, device, tools, progress)
        progress("package")
        description = manifest(program, prefix, known, source_hash, zero_weight, normalization)
        description["code_bytes"] = elf.code_bytes(files[f"{prefix}.so"])
        package.write_artifact(Path(output), description, files, as_folder=as_folder)
    return load(output, run_here=False)


def _identifier(text: str) -> str:
    """A C name made of ``text``."""
    name = re.sub(r"\W", "_", text, flags=re.ASCII)
    return name if re.match(r"[A-Za-z]", name) else f"net{name}"


def trace_model(
    model: Any, example_inputs: Sequence[Any] | None, *, checkpoint: str | Path | None = None
) -> tuple[TracedGraph, str]:
    """The simplified graph of a model, and a hash of it and its weights."""
    loaded = source.load_model(model, checkpoint=checkpoint, example_inputs=example_inputs)
    traced = simplify.simplify(trace.trace(loaded.model, loaded.example_inputs))
    digest = hashlib.sha256(str(traced.graph).encode())
    for key, value in sorted(traced.constants.items()):
        digest.update(key.encode())
        digest.update(value.detach().contiguous().numpy().reshape(-1).view(np.uint8).data)
    return traced, digest.hexdigest()


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
