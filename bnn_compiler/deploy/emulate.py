"""Run an artifact of another machine here, under qemu's user-mode emulation.

The network is the artifact's own NAME.a, linked statically into a small program that runs some
steps on a state from its stdin (runtime/bnn_runner.c). Emulated times mean nothing.
"""

import shutil
import subprocess
import tempfile
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bnn_compiler.deploy.cpu import link, static
from bnn_compiler.errors import ArtifactError, BuildError
from bnn_compiler.runtime import cpu, files, manifest
from bnn_compiler.runtime.artifact import Artifact, LayerProfile, check_threads
from bnn_compiler.runtime.session import Session

#: What qemu calls the CPUs that only LLVM has; any 64-bit ARM is at least the A53.
_CPUS = {"generic": "cortex-a53"}


class Emulated(Artifact):
    """An artifact whose steps run under qemu: ``run``, ``verify`` and sessions work as usual.

    Raises ArtifactError if the artifact is damaged or older than emulation, and BuildError, saying
    what to install, if qemu-user or the linker is missing.
    """

    def __init__(self, path: str | Path) -> None:
        found = files.read(Path(path))
        self._arch = static.arch_of(found, "emulated")
        if self._arch == cpu.machine():
            raise ArtifactError(f"{path} is for this kind of machine: run it without --emulate")
        super().__init__(found.path, found.manifest, b"", found.size)
        self._qemu = _qemu(self._arch, str(found.manifest["target"].get("cpu", "max")))
        self._files = found
        self._threads = 1
        self._runner: _Runner | None = None

    @property
    def threads(self) -> int:
        """The number of threads in force."""
        return self._threads

    def check_runs_here(self) -> None:
        """Build the program that runs it. Raises ArtifactError if it is closed."""
        self._built()

    def set_threads(self, count: int) -> int:
        """Use ``count`` threads from now on; 1 is in force in an artifact without threads."""
        check_threads(count)
        self._open()
        self._threads = count if self.manifest["threads"] else 1
        return self._threads

    def profile(self, *inputs: Any, repeat: int = 20) -> list[LayerProfile]:
        """Not here: raises ArtifactError."""
        raise ArtifactError(f"{self.path}: times under emulation mean nothing")

    def close(self) -> None:
        """Remove the program that runs it, once runs in other threads have ended."""
        super().close()
        self._runner = None

    def __reduce__(self) -> tuple[Any, ...]:
        self._open()
        return _restore, (self.path, self._threads)

    def __copy__(self) -> "Emulated":
        self._open()
        other = _restore(self.path, self._threads)
        other._runner = self._runner
        return other

    def _built(self) -> "_Runner":
        runner = self._runner
        if runner is not None:
            return runner
        with self._lock:
            self._open()
            if self._runner is None:
                self._runner = _Runner(self._files, link.static_toolchain(self._arch))
            return self._runner

    def _compute(
        self,
        arrays: Sequence[NDArray[Any]],
        results: list[NDArray[Any]],
        places: list[int],
        check_finite: bool,
    ) -> None:
        if check_finite:
            self._check_finite(arrays)
        session = Session(self)
        session.inputs, session.outputs = list(arrays), results
        session.run(0, len(self.manifest["steps"]))

    def _run_steps(
        self, session: Session, first: int, last: int, seconds: NDArray[np.float64] | None
    ) -> None:
        runner = self._built()
        results = [*session.outputs, session.workspace]
        head = np.array([first, last, self._threads], np.int64)
        state = [head, *session.inputs, *results]
        done = subprocess.run(
            [*self._qemu, str(runner.program)],
            input=runner.digest + b"".join(a.tobytes() for a in state),
            capture_output=True,
            check=False,
        )
        if done.returncode or len(done.stdout) != sum(a.nbytes for a in results):
            words = done.stderr.decode(errors="replace").strip()[-300:]
            raise ArtifactError(f"{self.path} failed under emulation ({done.returncode}): {words}")
        at = 0
        for array in results:
            raw = np.frombuffer(done.stdout, array.dtype, array.size, at)
            array[...] = raw.reshape(array.shape)
            at += array.nbytes


class _Runner:
    """The program that runs steps of a network, in a folder that goes with it."""

    def __init__(self, found: files.Files, tools: link.Toolchain) -> None:
        folder = Path(tempfile.mkdtemp(prefix="bnn-"))
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        self.program = folder / "runner"
        self.digest = bytes.fromhex(manifest.digest(found.manifest, found.members))
        name = found.manifest["name"]
        uses = ("run_steps", "set_threads", "info")
        names = [f"-DBNN_{use.upper()}={name}_{use}" for use in uses]
        sources = [link.RUNTIME / "bnn_runner.c", *static.unpack(found, folder)]
        command = [*tools.program, "-std=c11", *names, *map(str, sources)]
        link.run([*command, "-o", str(self.program), "-pthread"], folder)


def _restore(path: Path, threads: int) -> Emulated:
    """A pickled or copied artifact, read again."""
    artifact = Emulated(path)
    artifact.set_threads(threads)
    return artifact


def emulate(
    path: str | Path, inputs: Sequence[NDArray[Any]], threads: int = 1
) -> list[NDArray[np.float32]]:
    """The outputs of the artifact at ``path`` on ``inputs``, computed under qemu.

    Raises what ``Emulated`` and ``Artifact.run`` do.
    """
    with Emulated(path) as artifact:
        artifact.set_threads(threads)
        results = artifact.run(*inputs)
    return list(results) if isinstance(results, tuple) else [results]


def _qemu(arch: str, cpu_name: str) -> list[str]:
    """The command that runs a program of ``arch`` on the CPU it was compiled for."""
    for name in (f"qemu-{arch}", f"qemu-{arch}-static"):
        path = shutil.which(name)
        if path:
            break
    else:
        raise BuildError(
            f"no qemu-{arch} to emulate with; install it, e.g.: apt-get install qemu-user"
        )
    known = subprocess.run([path, "-cpu", "help"], capture_output=True, text=True, check=False)
    wanted = _CPUS.get(cpu_name, cpu_name)
    return [path, "-cpu", wanted if wanted in known.stdout.split() else "max"]
