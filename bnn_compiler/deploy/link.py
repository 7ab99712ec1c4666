"""Compile the glue and link: the system's C compiler, or zig's from PyPI where there is none."""

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

from bnn_compiler.errors import BuildError

RUNTIME = Path(__file__).parent / "runtime"
#: Any AVX2 CPU runs the glue; it must not use what the kernels' target may lack.
_FLAGS = ["-O2", "-std=c11", "-fPIC", "-Wall"]


def compiler() -> list[str]:
    """The command of a C compiler. Raises BuildError if there is none."""
    for name in ("cc", "gcc", "clang"):
        path = shutil.which(name)
        if path:
            return [path]
    if importlib.util.find_spec("ziglang") is not None:
        return [sys.executable, "-m", "ziglang", "cc"]
    raise BuildError("no C compiler (cc, gcc, clang) to link with; try: pip install ziglang")


def run(command: list[str], folder: Path) -> None:
    """Run in ``folder``. Raises BuildError with the tool's own words if it fails."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        words = (done.stderr or done.stdout).strip()[-600:]
        raise BuildError(f"{Path(command[0]).name} failed: {words}")


def build(folder: Path, name: str, objects: list[Path]) -> tuple[Path, Path]:
    """NAME.so and NAME.a from NAME.c, NAME.S, the thread pool and the kernels' objects."""
    cc = compiler()
    local: list[str] = []
    for source in (folder / f"{name}.c", folder / f"{name}.S", RUNTIME / "bnn_threads.c"):
        out = source.stem + (".weights.o" if source.suffix == ".S" else ".glue.o")
        run([*cc, *_FLAGS, "-c", str(source), "-o", out], folder)
        local.append(out)
    everything = [*local, *(str(o) for o in objects)]
    exports = folder / f"{name}.map"
    entry = "; ".join(f"{name}_{f}" for f in ("run", "run_steps", "set_threads"))
    exports.write_text(f"{{ global: {entry}; local: *; }};\n")
    shared, static = folder / f"{name}.so", folder / f"{name}.a"
    run(
        [
            *cc,
            "-shared",
            f"-Wl,--version-script={exports}",
            "-Wl,-z,noexecstack",
            "-o",
            str(shared),
            *everything,
            "-lpthread",
        ],
        folder,
    )
    archiver = [*cc[:-1], "ar"] if "ziglang" in cc else [shutil.which("ar") or "ar"]
    run([*archiver, "rcs", str(static), *everything], folder)
    return shared, static
