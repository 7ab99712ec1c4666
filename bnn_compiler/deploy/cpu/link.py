"""Compile the glue and link it, for this machine or another one.

For this machine: the system's C compiler, or zig's from PyPI where there is none. For another: the
cross compiler that the target names, or zig.
"""

import importlib.util
import platform
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bnn_compiler.deploy.cpu import abi
from bnn_compiler.errors import BuildError
from bnn_compiler.target import Link

RUNTIME = Path(__file__).parent / "runtime"
#: Permission and configuration of AMX tiles.
TILES = RUNTIME / "bnn_tiles.c"
#: The glue must not use what the kernels' target may lack, nor call what a libc may lack.
_FLAGS = ["-O2", "-std=c11", "-fPIC", "-ffunction-sections", "-fno-stack-protector"]
_LIBRARY = ["-shared", "-Wl,-z,noexecstack", "-Wl,--gc-sections", "-Wl,-S"]
_PROGRAM = ["-O2", "-s", "-Wl,--gc-sections"]
#: Atomics as instructions; the default is to call helpers that not every libc's compiler has.
_AARCH64 = ["-mno-outline-atomics"]
#: Android keeps x18 for itself.
_ANDROID = ["-ffixed-x18"]


@dataclass(frozen=True)
class Toolchain:
    """Commands for one machine: ``compile`` C, link a ``library`` or a ``program``.

    ``cc`` is the bare compiler; ``shown`` is ``program`` as a user would type it. A library for
    Android has to name its libc (``bionic``), which zig does not bring.
    """

    cc: list[str]
    compile: list[str]
    library: list[str]
    program: list[str]
    shown: list[str]
    bionic: bool = False


def compiler() -> list[str]:
    """The command of this machine's C compiler. Raises BuildError if there is none."""
    for name in ("cc", "gcc", "clang"):
        if shutil.which(name):
            return [name]
    found = _zig()
    if found is None:
        raise BuildError("no C compiler (cc, gcc, clang) to link with; try: pip install ziglang")
    return [*found, "cc"]


def toolchain(arch: str, link: Link) -> Toolchain:
    """The tools for a target. Raises BuildError, saying what to install, if they are not here."""
    if link.compiler:
        return _cross(arch, list(link.compiler))
    if arch == platform.machine() and "android" not in link.zig:
        return _native(compiler())
    if not link.zig:
        raise BuildError(f"linking for {arch} needs a [link] table in the target's file")
    zig = _zig()
    if zig is None:
        raise BuildError(
            f"linking for {arch} needs zig: pip install bnn_compiler[cross]; or name a cross"
            " compiler in [link] of the target's file"
        )
    return _with_zig(arch, zig, link.zig)


def static_toolchain(arch: str) -> Toolchain:
    """Tools for static programs of an architecture, whatever system they will run on.

    Raises BuildError, saying what to install, if there are none.
    """
    gnu = f"{arch}-linux-gnu-gcc"
    if arch != platform.machine() and _zig() is None and shutil.which(gnu):
        return _cross(arch, [gnu])
    return toolchain(arch, Link(zig=f"{arch}-linux-musl"))


def _native(cc: list[str]) -> Toolchain:
    program = [*cc, *_PROGRAM]
    # zig's default is this very CPU.
    flags = [*_FLAGS, *(["-mcpu=baseline"] if cc[:-1] == _zig() else [])]
    return Toolchain(cc, [*cc, *flags], [*cc, *_LIBRARY], program, _shown(program))


def _cross(arch: str, cc: list[str]) -> Toolchain:
    if shutil.which(cc[0]) is None:
        raise BuildError(
            f"no cross compiler {cc[0]!r}, which [link] of the target's file names: install it, or"
            " remove it there to link with zig"
        )
    flags = [*_FLAGS, *(_AARCH64 if arch == "aarch64" else [])]
    program = [*cc, *_PROGRAM, "-static"]
    return Toolchain(cc, [*cc, *flags], [*cc, *_LIBRARY], program, _shown(program))


def _with_zig(arch: str, zig: list[str], triple: str) -> Toolchain:
    """Programs are static, against musl; objects are the same for every libc of a 64-bit machine.

    glibc's types are the largest, so they are compiled for it; bionic's headers zig has not.
    """
    system, abi = triple.rsplit("-", 1)
    bionic = abi.startswith("android")
    musl = f"{system}-musl"
    flags = [*_FLAGS, *(_AARCH64 if arch == "aarch64" else []), *(_ANDROID if bionic else [])]
    library = ["-target", f"{system}-none", "-nostdlib"] if bionic else ["-target", triple]
    program = [*zig, "cc", "-target", musl, *_PROGRAM]
    return Toolchain(
        [*zig, "cc"],
        [*zig, "cc", "-target", musl if bionic else triple, *flags],
        [*zig, "cc", *library, *_LIBRARY],
        program,
        _shown(program),
        bionic,
    )


def _shown(command: list[str]) -> list[str]:
    """The same without this machine's path of Python."""
    return ["python3", *command[1:]] if command[0] == sys.executable else command


def _zig() -> list[str] | None:
    if importlib.util.find_spec("ziglang") is not None:
        return [sys.executable, "-m", "ziglang"]
    path = shutil.which("zig")
    return [path] if path else None


def _archiver(cc: list[str]) -> list[str]:
    """The ``ar`` that belongs to a compiler; the NDK's clang only has llvm-ar."""
    if cc[:-1] == _zig():
        return [*cc[:-1], "ar"]
    for name in ("llvm-ar", "ar"):
        asked = [*cc, f"-print-prog-name={name}"]
        done = subprocess.run(asked, capture_output=True, text=True, check=False)
        path = shutil.which(done.stdout.strip() or name)
        if path:
            return [path]
    raise BuildError(f"no archiver (ar, llvm-ar) beside {cc[0]}")


def run(command: list[str], folder: Path) -> None:
    """Run in ``folder``. Raises BuildError with the tool's own words if it fails."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        words = (done.stderr or done.stdout).strip()[-600:] or f"exit code {done.returncode}"
        tool = "zig" if "ziglang" in command else Path(command[0]).name
        raise BuildError(f"{tool} failed: {words}")


def build(
    folder: Path,
    name: str,
    objects: list[Path],
    tools: Toolchain,
    *,
    threads: bool,
    weights: bool,
    tiles: bool = False,
    parts: Sequence[str] = (),
) -> tuple[Path, Path]:
    """NAME.so and NAME.a from NAME.c, NAME.S, the thread pool and the kernels' objects.

    ``weights`` says whether NAME.a holds NAME.S too, ``tiles`` whether kernels use AMX. ``parts``
    are the names of the programs of several batch sizes, NAME itself the first.
    """
    parts = parts or [name]
    # Two networks in one program keep their pools apart.
    renamed = [f"-Dbnn_parallel={name}_parallel", f"-Dbnn_set_threads={name}_set_threads"]
    flags = renamed if threads else [*renamed, "-DBNN_NO_THREADS"]
    if tiles:
        functions = ("permit", "configure", "release")
        flags += [f"-Dbnn_tiles_{f}={name}_tiles_{f}" for f in functions]
    # With a dash: no network's name has one.
    sources = {
        **{f"{part}-glue.o": folder / f"{part}.c" for part in parts},
        f"{name}-weights.o": folder / f"{name}.S",
        "thread-pool.o": RUNTIME / "bnn_threads.c",
        **({"tiles.o": TILES} if tiles else {}),
    }
    assemble(folder, tools, flags, sources)
    everything = [*sources, *(str(o) for o in objects)]
    libraries = _libraries(folder, tools, threads)
    more = [f"{part.removeprefix(f'{name}_')}_{s}" for part in parts[1:] for s in abi.PROGRAM]
    shared = library(folder, name, tools, everything, libraries, [*abi.EXPORTS, *more])
    archived = everything if weights else [o for o in everything if o != f"{name}-weights.o"]
    return shared, archive(folder, name, tools, archived)


def assemble(
    folder: Path, tools: Toolchain, flags: Sequence[str], sources: Mapping[str, Path]
) -> None:
    """Objects in ``folder`` from C and assembler: object -> source."""
    for out, source in sources.items():
        run([*tools.compile, *flags, "-c", str(source), "-o", out], folder)


def library(
    folder: Path,
    name: str,
    tools: Toolchain,
    objects: Sequence[str],
    libraries: Sequence[str],
    exports: Sequence[str],
) -> Path:
    """NAME.so, which shows NAME_x for each x of ``exports``."""
    shared = folder / f"{name}.so"
    run(
        [
            *tools.library,
            *_exports(folder, name, exports),
            # An Android app takes only what is called lib*.so.
            f"-Wl,-soname,{'lib' if tools.bionic else ''}{name}.so",
            "-o",
            str(shared),
            *objects,
            *libraries,
        ],
        folder,
    )
    return shared


def archive(folder: Path, name: str, tools: Toolchain, objects: Sequence[str]) -> Path:
    """NAME.a."""
    static = folder / f"{name}.a"
    run([*_archiver(tools.cc), "rcs", str(static), *objects], folder)
    return static


def _exports(folder: Path, name: str, exports: Sequence[str]) -> list[str]:
    path = folder / f"{name}.map"
    entry = "; ".join(f"{name}_{symbol}" for symbol in exports)
    path.write_text(f"{{ global: {entry}; local: *; }};\n")
    return [f"-Wl,--version-script={path}"]


def _libraries(folder: Path, tools: Toolchain, threads: bool) -> list[str]:
    if not tools.bionic:
        return ["-pthread"] if threads else []
    # An empty library of libc's name: the device's own is found by it when the network is loaded.
    (folder / "empty-libc.c").write_text("")
    run([*tools.library, "-Wl,-soname,libc.so", "-o", "empty-libc.so", "empty-libc.c"], folder)
    return ["-Wl,--no-as-needed", "empty-libc.so"]
