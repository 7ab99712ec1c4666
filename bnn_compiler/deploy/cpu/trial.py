"""Executables that time something: runtime/trial.c, linked with what it calls."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tvm import tirx

from bnn_compiler.deploy.cpu import abi, link, tiled
from bnn_compiler.deploy.cpu.link import Toolchain
from bnn_compiler.errors import BuildError
from bnn_compiler.kernels.cpu import codegen
from bnn_compiler.kernels.cpu.tiles import has_tiles, tile_rows
from bnn_compiler.kernels.layout import Layout
from bnn_compiler.target import Target

#: The program without what it calls.
SOURCE = link.RUNTIME / "trial.c"
#: How random inputs are filled, by dtype (runtime/trial.h).
FILLS = {"float32": "FLOATS", "int16": "PIXELS"}


@dataclass(frozen=True)
class TrialBuffer:
    """An argument of what is timed: its size, and what it holds before the first call.

    ``fill`` is one of trial.h: FLOATS, BITS, PIXELS, CONSTANT, SCRATCH or OUTPUT.
    """

    fill: str
    bytes: int


@dataclass(frozen=True)
class TrialProgram:
    """An executable made of trial.c, and the file of constants it reads."""

    path: Path

    @property
    def constants(self) -> Path:
        """Beside it."""
        return self.path.with_suffix(".bin")


def executable(
    tools: Toolchain,
    output: Path,
    sources: Sequence[Path],
    *,
    static: bool,
    threads: bool = False,
    small: bool = False,
) -> None:
    """Compile and link; ``static`` for machines with another C library, or none.

    ``small`` is for what need not be fast.

    Raises BuildError with the linker's words, and what to install if it misses the C library.
    """
    headers = dict.fromkeys(f"-I{source.parent}" for source in sources)
    flags = [*headers, "-std=c11", *(["-static"] if static else [])]
    flags += ["-Os"] if small else []
    files = ["-o", str(output), *map(str, sources), *(["-pthread"] if threads else [])]
    try:
        link.run([*tools.program, *flags, *files], output.parent)
    except BuildError as e:
        if not (static and re.search(r"-lc\b", str(e))):
            raise
        raise BuildError(
            f"{e}\na static program needs libc.a: install glibc-static (Fedora) or libc6-dev"
            " (Debian)"
        ) from e


def trial_source(
    name: str,
    buffers: Sequence[TrialBuffer],
    declarations: str,
    call: str,
    threads: str = "n > 0",
    clear: tuple[str, str] = ("", ""),
) -> str:
    """The C file that goes with trial.c.

    ``call`` is an expression with the buffers as ``p``, ``threads`` one that sets ``n`` threads and
    is the number in force; ``clear`` are statements for trial.h's two functions.
    """
    cleared = "".join(
        f"void bnn_clear_{which}(void **p) {{\n  (void)p;\n{code}}}\n"
        for which, code in zip(("inputs", "outputs"), clear, strict=True)
    )
    table = "".join(f"    {{BNN_{b.fill}, {b.bytes}}},\n" for b in buffers)
    return (
        '#include "trial.h"\n\n'
        f"{declarations}\n"
        f'const char bnn_name[] = "{name}";\n'
        f"const struct bnn_buffer bnn_buffers[] = {{\n{table}}};\n"
        f"const int32_t bnn_count = {len(buffers)};\n"
        f"int32_t bnn_threads(int32_t n) {{ return {threads}; }}\n"
        f"{cleared}"
        f"int32_t bnn_call(void **p) {{ return {call}; }}\n"
    )


def write_object(function: tirx.PrimFunc, target: Target, path: Path) -> int:
    """The C function ``kernel`` as an object file; the extent of its parallel loop."""
    ready = codegen.with_strides(function, {}, "kernel")
    codegen.write_object(codegen.build({"kernel": ready}, target), path)
    return codegen.parallel_extent(function)


def kernel(
    function: tirx.PrimFunc,
    name: str,
    constants: Sequence[NDArray[Any]],
    outputs: int,
    target: Target,
    stem: Path,
    *,
    static: bool,
    image: Layout,
    channels: int,
) -> TrialProgram:
    """``stem``.run, which times a kernel on inputs from a seed, and ``stem``.bin, its constants.

    The first parameter is the ``image``, then come the constants; the last ``outputs`` are results,
    of ``channels``. For a target with tiles what is stored beside them, and the image's halo, are
    0: kernels without tiles read them. ``name`` is what its measurements are called. Raises
    BuildError if linking fails.
    """
    compiled, source = stem.with_suffix(".kernel.o"), stem.with_suffix(".c")
    extent = write_object(function, target, compiled)
    count = len(function.params)
    buffers = []
    for i, parameter in enumerate(function.params):
        dtype = str(parameter.ty.dtype)
        size = np.dtype(dtype).itemsize * math.prod(int(e) for e in parameter.ty.shape)
        fill = FILLS.get(dtype, "BITS")
        if 1 <= i <= len(constants):
            fill = "CONSTANT"
        elif i >= count - outputs:
            fill = "OUTPUT"
        buffers.append(TrialBuffer(fill, size))
    declared = f"{abi.kernel('kernel', count)};\n{abi.registration()}"
    arguments = ", ".join(f"p[{i}]" for i in range(count))
    call, clear = f"kernel({arguments}, 0, {extent})", ("", "")
    sources = [SOURCE, source, compiled]
    if target.cpu.tiles:
        declared += tiled.DECLARATIONS
        results = function.params[count - outputs :]
        clear = tiled.clear_image(image), tiled.clear_results(results, count - outputs, channels)
    if rows := tile_rows(function):
        call = f"tiled_call(p, {rows})"
        declared += tiled.call(f"kernel({arguments}, 0, {extent})")
        sources += [link.TILES] if has_tiles(target) else []
    source.write_text(trial_source(name, buffers, declared, call, clear=clear))
    built = TrialProgram(stem.with_suffix(".run"))
    built.constants.write_bytes(b"".join(np.ascontiguousarray(v).tobytes() for v in constants))
    tools = link.toolchain(target.arch, target.link)
    executable(tools, built.path, sources, static=static)
    return built
