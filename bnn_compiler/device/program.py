"""Programs for a target: the board's server, and executables that time something."""

import os
import re
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from bnn_compiler.deploy.cpu import link
from bnn_compiler.deploy.cpu.link import Toolchain
from bnn_compiler.errors import BuildError, DeviceError
from bnn_compiler.files import check_writable
from bnn_compiler.target import Target

HERE = Path(__file__).parent
#: Files of the server of a board.
SERVER = ("server.c", "greet.c", "secret.c", "hmac.c", "work.c", "session.c", "tracker.c")


@dataclass(frozen=True)
class Buffer:
    """An argument of what is timed: its size, and what it holds before the first call.

    ``fill`` is one of trial.h: FLOATS, BITS, PIXELS, CONSTANT, SCRATCH or OUTPUT.
    """

    fill: str
    bytes: int


@dataclass(frozen=True)
class Program:
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
    flags = [f"-I{HERE}", "-std=c11", *(["-static"] if static else [])]
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
    name: str, buffers: Sequence[Buffer], declarations: str, call: str, threads: str = "n > 0"
) -> str:
    """The C file that goes with trial.c.

    ``call`` is an expression with the buffers as ``p``, ``threads`` one that sets ``n`` threads and
    is the number in force.
    """
    table = "".join(f"    {{BNN_{b.fill}, {b.bytes}}},\n" for b in buffers)
    return (
        '#include "trial.h"\n\n'
        f"{declarations}\n"
        f'const char bnn_name[] = "{name}";\n'
        f"const struct bnn_buffer bnn_buffers[] = {{\n{table}}};\n"
        f"const int32_t bnn_count = {len(buffers)};\n"
        f"int32_t bnn_threads(int32_t n) {{ return {threads}; }}\n"
        f"int32_t bnn_call(void **p) {{ return {call}; }}\n"
    )


def server(target: Target, output: Path) -> None:
    """The small RPC server of a board as one static executable at ``output``.

    Raises BuildError if nothing here can link for ``target``, DeviceError if ``output`` cannot be
    written.
    """
    output = output.absolute()
    partial = output.with_name(f".{output.name}.{os.getpid()}.partial")
    tools = link.toolchain(target.arch, target.link)
    try:
        check_writable(output)
        executable(tools, partial, [HERE / name for name in SERVER], static=True, small=True)
        partial.replace(output)
    except OSError as e:
        raise DeviceError(f"cannot write {output}: {e}") from e
    finally:
        with suppress(OSError):
            partial.unlink()


def launcher(tools: Toolchain) -> bytes:
    """The library that makes TVM's own server run programs (launch.c)."""
    with tempfile.TemporaryDirectory(prefix="bnnc-device-") as name:
        folder = Path(name)
        link.run([*tools.compile, "-c", str(HERE / "launch.c"), "-o", "launch.o"], folder)
        # The process that loads it has a C library already, and not always the one linked for.
        link.run([*tools.library, "-nostdlib", "-o", "launch.so", "launch.o"], folder)
        return (folder / "launch.so").read_bytes()
