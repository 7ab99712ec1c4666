"""The backend of CPUs: LLVM's objects, linked with the glue into NAME.so and NAME.a."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from tvm import tirx

from bnn_compiler.deploy.cpu import example, glue, link
from bnn_compiler.deploy.cpu.trial import TrialProgram, kernel
from bnn_compiler.errors import BuildError
from bnn_compiler.kernels.cpu import codegen
from bnn_compiler.kernels.cpu.tiles import has_tiles, tile_rows
from bnn_compiler.kernels.layout import Layout
from bnn_compiler.plan.program import Program
from bnn_compiler.runtime import seal
from bnn_compiler.runtime.manifest import Manifest
from bnn_compiler.target import Target


def check(target: Target) -> None:
    """Raise TargetError for a core LLVM does not know, BuildError if nothing here can link."""
    codegen.check(target)
    link.toolchain(target.arch, target.link)


def build(
    folder: Path,
    program: Program,
    functions: Mapping[str, tirx.PrimFunc],
    target: Target,
    draft: Manifest,
    progress: Callable[[str], None],
) -> tuple[dict[str, Any], dict[str, Path]]:
    """See Backend.build. The digest of ``draft`` is compiled in."""
    name, sealed = draft.name, draft.as_json()
    tools = link.toolchain(target.arch, target.link)
    progress("codegen")
    objects = _objects(folder, functions, target)
    progress("link")
    header, sample = folder / f"{name}.h", folder / "example.c"
    header.write_text(glue.header(program, name, threads=target.threads))
    sample.write_text(example.source(program, name, tools, threads=target.threads))
    digest = seal.digest(sealed, {p.name: p.read_bytes() for p in (header, sample)})
    ahead = target.prefetch_kib * 1024
    parts = program.named(name)
    for called, part in parts.items():
        (folder / f"{called}.c").write_text(glue.source(part, called, ahead, digest, name))
    (folder / "weights.bin").write_bytes(program.weights)
    assembly = glue.weights_assembly(name, "weights.bin", 0, len(program.weights))
    (folder / f"{name}.S").write_text(assembly)
    whole = draft.static_weights
    built = link.build(
        folder,
        name,
        objects,
        tools,
        threads=target.threads,
        weights=whole,
        tiles=has_tiles(target) and any(map(tile_rows, functions.values())),
        parts=list(parts),
    )
    files = {p.name: p for p in (*built, header, sample)}
    contents = {n: p.read_bytes() for n, p in files.items()}
    offset = contents[f"{name}.so"].find(program.weights)
    if offset < 0:
        raise BuildError(f"the linker did not keep the weights of {name}.so in one piece")
    return seal.complete(sealed, contents, offset), files


def trial(
    function: tirx.PrimFunc,
    name: str,
    constants: Sequence[NDArray[Any]],
    outputs: int,
    channels: tuple[int, int],
    target: Target,
    stem: Path,
    *,
    static: bool,
    image: Layout,
) -> TrialProgram:
    """See Backend.trial."""
    return kernel(
        function,
        name,
        constants,
        outputs,
        target,
        stem,
        static=static,
        image=image,
        channels=channels[1],
    )


def _objects(folder: Path, functions: Mapping[str, tirx.PrimFunc], target: Target) -> list[Path]:
    """The kernels' objects, made by two threads."""
    halves = [dict(list(functions.items())[i::2]) for i in (0, 1)]
    with ThreadPoolExecutor(2) as pool:
        modules = list(pool.map(lambda part: codegen.build(part, target), filter(None, halves)))
    objects = [folder / f"kernels{i}.o" for i in range(len(modules))]
    for module, path in zip(modules, objects, strict=True):
        codegen.write_object(module, path)
    return objects
