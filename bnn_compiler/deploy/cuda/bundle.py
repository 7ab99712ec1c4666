"""Device code and its launcher become NAME.so and NAME.a."""

from pathlib import Path
from typing import Any

from bnn_compiler.deploy.cpu import glue, link
from bnn_compiler.deploy.cuda import abi, example, launcher
from bnn_compiler.errors import BuildError
from bnn_compiler.kernels.cuda.device_code import DeviceCode
from bnn_compiler.plan.program import Program
from bnn_compiler.runtime import seal
from bnn_compiler.runtime.manifest import Manifest

RUNTIME = Path(__file__).parent / "runtime"


def package(
    folder: Path, program: Program, code: DeviceCode, draft: Manifest, tools: link.Toolchain
) -> tuple[dict[str, Any], dict[str, Path]]:
    """The manifest and the files of an artifact of ``code``; see Backend.build.

    The digest of ``draft`` is compiled in.
    """
    name, sealed = draft.name, draft.as_json()
    header, sample = folder / f"{name}.h", folder / "example.c"
    header.write_text(launcher.header(program, name))
    sample.write_text(example.source(program, name, tools))
    digest = seal.digest(sealed, {p.name: p.read_bytes() for p in (header, sample)})
    (folder / f"{name}.c").write_text(launcher.source(program, name, code, digest))
    (folder / "weights.bin").write_bytes(program.weights)
    weights = glue.weights_assembly(name, "weights.bin", 0, len(program.weights))
    (folder / f"{name}.S").write_text(weights)
    (folder / "images.S").write_text(_images(folder, name, code))
    # With a dash: no network's name has one.
    sources = {
        f"{name}-launcher.o": folder / f"{name}.c",
        f"{name}-images.o": folder / "images.S",
        f"{name}-weights.o": folder / f"{name}.S",
    }
    link.assemble(folder, tools, [f"-I{RUNTIME}"], sources)
    shared = link.library(folder, name, tools, [*sources], example.LIBRARIES, abi.EXPORTS)
    archived = [o for o in sources if draft.static_weights or o != f"{name}-weights.o"]
    static = link.archive(folder, name, tools, archived)
    files = {p.name: p for p in (shared, static, header, sample)}
    contents = {n: p.read_bytes() for n, p in files.items()}
    offset = contents[f"{name}.so"].find(program.weights)
    if offset < 0:
        raise BuildError(f"the linker did not keep the weights of {name}.so in one piece")
    return seal.complete(sealed, contents, offset), files


def _images(folder: Path, name: str, code: DeviceCode) -> str:
    """The assembler file of the device code, which is written beside it."""
    files = {}
    for label, arch in launcher.image_labels(code).items():
        files[label] = f"{label}.bin"
        content = code.ptx.encode() if label == "ptx" else code.images[arch]
        (folder / files[label]).write_bytes(content)
    return launcher.images_assembly(name, files)
