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
from bnn_compiler.cost.pick import Schedules
from bnn_compiler.deploy import package
from bnn_compiler.deploy.cpu import example, glue, link
from bnn_compiler.deploy.manifest import manifest, zero_activation
from bnn_compiler.errors import BuildError, InputError
from bnn_compiler.kernels.cpu import codegen
from bnn_compiler.network import Network
from bnn_compiler.ops.graph import Graph
from bnn_compiler.options import Options
from bnn_compiler.plan import plan, realize
from bnn_compiler.plan.program import Program
from bnn_compiler.runtime import Artifact, load
from bnn_compiler.runtime.manifest import complete, digest
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
    zero_weight: str = "exact",
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
    ones. ``zero_weight`` says what becomes of binary weights that are exactly 0: "exact" computes
    them, at twice the work of their layer, "error" refuses them, "+1" and "-1" read them as that,
    which makes another network. With ``input_dtype`` "uint8" the program takes images as bytes
    and the network sees (byte / 255 - mean) / std, computed in the first convolution. ``threads``
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
    program, functions = realize.realize(plan.plan(graph), known, prefix)
    if not any(s.op == "bnn.conv2d" for s in program.steps):
        log.warning("no binary layer was recognised: this network runs as float kernels only")
    with tempfile.TemporaryDirectory(prefix="bnnc-") as folder:
        description = manifest(
            program,
            prefix,
            known,
            network.source_hash,
            zero_weight,
            options.normalization,
            zero_activation(Graph.of(network.imported.module), program),
            static_weights=as_folder,
        )
        description, files = build_files(
            Path(folder), description, program, functions, device, tools, progress
        )
        if check:
            progress("check")
            draft = Path(folder) / "draft"
            package.write_artifact(draft, description, files, as_folder=as_folder)
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
    description: dict[str, Any],
    program: Program,
    functions: dict[str, Any],
    device: targets.Target,
    tools: link.Toolchain,
    progress: Progress,
) -> tuple[dict[str, Any], dict[str, Path]]:
    """The manifest and the files of the artifact, built in ``folder``.

    ``description`` is the manifest before anything is built; its digest is compiled in.
    """
    name = description["name"]
    progress("codegen")
    halves = [dict(list(functions.items())[i::2]) for i in (0, 1)]
    with ThreadPoolExecutor(2) as pool:
        modules = list(pool.map(lambda part: codegen.build(part, device), filter(None, halves)))
    objects = [folder / f"kernels{i}.o" for i in range(len(modules))]
    for module, path in zip(modules, objects, strict=True):
        codegen.write_object(module, path)
    progress("link")
    header, sample = folder / f"{name}.h", folder / "example.c"
    header.write_text(glue.header(program, name, threads=device.threads))
    sample.write_text(example.source(program, name, tools, threads=device.threads))
    sealed = digest(description, {p.name: p.read_bytes() for p in (header, sample)})
    # Half of L2 for the next step; only measured on x86.
    ahead = device.hardware.l2_kib * 512 if device.arch == "x86_64" else 0
    (folder / f"{name}.c").write_text(glue.source(program, name, ahead, sealed))
    (folder / "weights.bin").write_bytes(program.weights)
    assembly = glue.weights_assembly(name, "weights.bin", 0, len(program.weights))
    (folder / f"{name}.S").write_text(assembly)
    whole = description["static_weights"]
    built = link.build(folder, name, objects, tools, threads=device.threads, weights=whole)
    files = {p.name: p for p in (*built, header, sample)}
    contents = {n: p.read_bytes() for n, p in files.items()}
    offset = contents[f"{name}.so"].find(program.weights)
    if offset < 0:
        raise BuildError(f"the linker did not keep the weights of {name}.so in one piece")
    return complete(description, contents, offset), files
