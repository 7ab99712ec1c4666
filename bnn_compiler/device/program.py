"""Programs for a target: the board's server, and executables that time something."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from bnn_compiler.deploy import link
from bnn_compiler.errors import BuildError
from bnn_compiler.runtime import cpu
from bnn_compiler.target import Target

HERE = Path(__file__).parent


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


def cross(target: Target) -> list[str]:
    """The command of a C compiler for ``target``.

    Raises BuildError if that is another machine and nothing here can link for it.
    """
    if target.link.compiler:
        return list(target.link.compiler)
    if target.arch == cpu.machine():
        return link.compiler()
    if not target.link.zig:
        raise BuildError(f"{target.name} does not say how to link: add [link] to its file")
    if find_spec("ziglang") is None:
        raise BuildError(f"linking for {target.name} needs zig: pip install ziglang")
    return [sys.executable, "-m", "ziglang", "cc", "-target", target.link.zig]


def executable(
    target: Target, output: Path, sources: Sequence[Path], *, static: bool, threads: bool = False
) -> None:
    """Compile and link; ``static`` for machines with another C library, or none."""
    flags = ["-O2", "-s", "-std=c11", f"-I{HERE}", *(["-static"] if static else [])]
    link.run(
        [
            *cross(target),
            *flags,
            "-o",
            str(output),
            *map(str, sources),
            *(["-lpthread"] if threads else []),
        ],
        output.parent,
    )


def trial_source(name: str, buffers: Sequence[Buffer], declaration: str, call: str) -> str:
    """The C file that goes with trial.c: ``call`` is an expression with the buffers as ``p``."""
    table = "".join(f"    {{BNN_{b.fill}, {b.bytes}}},\n" for b in buffers)
    return (
        '#include "trial.h"\n\n'
        f"{declaration}\n"
        f'const char bnn_name[] = "{name}";\n'
        f"const struct bnn_buffer bnn_buffers[] = {{\n{table}}};\n"
        f"const int32_t bnn_count = {len(buffers)};\n"
        f"int32_t bnn_call(void **p) {{ return {call}; }}\n"
    )


def server(target: Target, output: Path) -> None:
    """The small RPC server of a board as one static executable at ``output``.

    Raises BuildError if nothing here can link for ``target``.
    """
    output = output.absolute()
    output.parent.mkdir(parents=True, exist_ok=True)
    partial = output.with_name(f".{output.name}.partial")
    try:
        executable(target, partial, [HERE / "server.c"], static=True)
        partial.replace(output)
    finally:
        partial.unlink(missing_ok=True)


def launcher(target: Target, output: Path) -> None:
    """The library that makes TVM's own server run programs (launch.c)."""
    flags = ["-O2", "-s", "-std=c11", "-shared", "-fPIC", "-nostdlib"]
    link.run([*cross(target), *flags, "-o", str(output), str(HERE / "launch.c")], output.parent)
