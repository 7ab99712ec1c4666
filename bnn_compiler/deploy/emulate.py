"""Run an artifact of another machine here, under qemu's user-mode emulation.

The network is the artifact's own NAME.a, linked statically into a small program that runs some
steps on a state from its stdin (runtime/bnn_runner.c). Emulated times mean nothing.
"""

import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bnn_compiler.deploy import link
from bnn_compiler.errors import ArtifactError, BuildError, InputError
from bnn_compiler.runtime import cpu, files
from bnn_compiler.runtime.artifact import Artifact, LayerProfile
from bnn_compiler.runtime.session import Session
from bnn_compiler.target import ARCHITECTURES

#: What qemu calls the CPUs that only LLVM has; any 64-bit ARM is at least the A53.
_CPUS = {"generic": "cortex-a53"}


class Emulated(Artifact):
    """An artifact whose steps run under qemu: ``run``, ``verify`` and sessions work as usual.

    Raises ArtifactError if the artifact is damaged or older than emulation, and BuildError, saying
    what to install, if qemu-user or the linker is missing.
    """

    def __init__(self, path: str | Path) -> None:
        path = Path(path)
        manifest, members = files.read(path)
        archive = members.get(f"{manifest['name']}.a")
        arch = manifest["target"].get("arch")
        if archive is None or arch not in ARCHITECTURES:
            raise ArtifactError(f"{path} cannot be emulated; compile it again")
        if arch == cpu.machine():
            raise ArtifactError(f"{path} is for this kind of machine: run it without --emulate")
        super().__init__(path, manifest, archive)
        self._qemu = _qemu(arch, str(manifest["target"].get("cpu", "max")))

    def check_runs_here(self) -> None:
        """Build the program that runs it."""
        assert self._runner is not None

    def set_threads(self, count: int) -> int:
        """Use ``count`` threads from now on; 1 is in force in an artifact without threads."""
        if count < 1:
            raise InputError(f"{count} threads; give at least 1")
        self.threads = count if self.manifest.get("threads", True) else 1
        return self.threads

    def profile(self, *inputs: Any, repeat: int = 20) -> list[LayerProfile]:
        """Not here: raises ArtifactError."""
        raise ArtifactError(f"{self.path}: times under emulation mean nothing")

    @cached_property
    def _runner(self) -> Path:
        self._folder = tempfile.TemporaryDirectory(prefix="bnn-")
        folder, name = Path(self._folder.name), self.manifest["name"]
        (folder / f"{name}.a").write_bytes(self._library)
        tools = link.static_toolchain(self.manifest["target"]["arch"])
        names = [f"-DBNN_RUN_STEPS={name}_run_steps", f"-DBNN_SET_THREADS={name}_set_threads"]
        source = str(link.RUNTIME / "bnn_runner.c")
        link.run(
            [*tools.program, "-std=c11", *names, source, f"{name}.a", "-o", "runner", "-pthread"],
            folder,
        )
        return folder / "runner"

    def _run_steps(
        self, session: Session, first: int, last: int, seconds: NDArray[np.float64] | None
    ) -> None:
        results = [*session.outputs, session.workspace]
        state = [*session.inputs, *results]
        head = [first, last, self.threads, len(session.inputs), len(session.outputs)]
        request = np.array([*head, *(a.nbytes for a in state)], np.int64)
        done = subprocess.run(
            [*self._qemu, str(self._runner)],
            input=b"".join(a.tobytes() for a in (request, *state)),
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
