"""Run an artifact of another machine here, under qemu's user-mode emulation.

The network is the artifact's own NAME.a, linked statically into a small program that runs some
steps on a state from its stdin (runtime/bnn_runner.c). Emulated times mean nothing.
"""

import ctypes
import shutil
import subprocess
import tempfile
import threading
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bnn_compiler.deploy.cpu import abi, link, static
from bnn_compiler.errors import ArtifactError, BuildError
from bnn_compiler.runtime import cpu, files, seal
from bnn_compiler.runtime.artifact import Artifact
from bnn_compiler.runtime.executor import Workspace, closed, host_workspace
from bnn_compiler.runtime.library import HAS_NAN
from bnn_compiler.runtime.manifest import Manifest

#: What qemu calls the CPUs that only LLVM has; any 64-bit ARM is at least the A53.
_CPUS = {"generic": "cortex-a53"}


class Emulator:
    """An Executor of the steps of another machine's artifact; each run is a process of its own."""

    def __init__(
        self, found: files.Files, threads: int = 1, manifest: Manifest | None = None
    ) -> None:
        self._files = found
        #: Of the program that it runs.
        self.manifest = manifest or found.description.programs[0]
        self._arch = static.arch_of(found, "emulated")
        self._qemu = _qemu(self._arch, found.description.target.cpu or "max")
        self._lock = threading.Lock()
        self._runner: _Runner | None = None
        self._closed = False
        self.threads = threads

    def set_threads(self, count: int) -> int:
        """1 is in force in an artifact without threads."""
        self._open()
        self.threads = count if self._files.description.threads else 1
        return self.threads

    def prepare(self) -> None:
        """Build the program that runs it."""
        self._built()

    def run(self, places: Sequence[int], check_finite: bool) -> int:
        """Every step, on a workspace of its own."""
        manifest = self.manifest
        if check_finite:
            for tensor, place in zip(manifest.inputs, places, strict=False):
                if tensor.dtype == "float32" and _has_nan(place, tensor.bytes):
                    return HAS_NAN
        return self.run_steps(self.new_workspace(), places, 0, len(manifest.steps), None)

    def run_steps(
        self,
        workspace: Workspace,
        places: Sequence[int],
        first: int,
        last: int,
        seconds: NDArray[np.float64] | None,
    ) -> int:
        """Steps first..last-1. Raises ArtifactError where ``seconds`` are asked for."""
        runner, path = self._built(), self._files.path
        if seconds is not None:
            raise ArtifactError(f"{path}: times under emulation mean nothing")
        manifest = self.manifest
        sizes = [t.bytes for t in (*manifest.inputs, *manifest.outputs)]
        tensors = [ctypes.string_at(p, n) for p, n in zip(places, sizes, strict=True)]
        head = np.array([first, last, self.threads], np.int64)
        done = subprocess.run(
            [*self._qemu, str(runner.program)],
            input=b"".join((runner.digest, head.tobytes(), *tensors, workspace.tobytes())),
            capture_output=True,
            check=False,
        )
        count = len(manifest.inputs)
        if done.returncode or len(done.stdout) != sum(sizes[count:]) + workspace.nbytes:
            words = done.stderr.decode(errors="replace").strip()[-300:]
            raise ArtifactError(f"{path} failed under emulation ({done.returncode}): {words}")
        at = 0
        for place, size in zip(places[count:], sizes[count:], strict=True):
            ctypes.memmove(place, done.stdout[at : at + size], size)
            at += size
        workspace[:] = np.frombuffer(done.stdout, np.uint8, offset=at)
        return 0

    def new_workspace(self) -> Workspace:
        """Zeroed memory of this process."""
        self._open()
        return host_workspace(self._files.path, self.manifest.workspace_bytes)

    def read(self, workspace: Workspace, offset: int, size: int) -> NDArray[np.uint8]:
        """Bytes of a workspace."""
        part: NDArray[np.uint8] = workspace[offset : offset + size]
        return part

    def write(self, workspace: Workspace, offset: int, data: NDArray[np.uint8]) -> None:
        """Change bytes of a workspace."""
        workspace[offset : offset + data.size] = data

    def at(self, manifest: Manifest) -> "Emulator":
        """The program of another batch size."""
        return Emulator(self._files, self.threads, manifest)

    def close(self) -> None:
        """Remove the program that runs it, once runs in other threads have ended."""
        with self._lock:
            self._closed, self._runner = True, None

    def __reduce__(self) -> tuple[Any, ...]:
        self._open()
        return Emulator, (self._files, self.threads, self.manifest)

    def __copy__(self) -> "Emulator":
        self._open()
        other = Emulator(self._files, self.threads, self.manifest)
        other._runner = self._runner
        return other

    def _open(self) -> None:
        if self._closed:
            raise closed(self._files.path)

    def _built(self) -> "_Runner":
        runner = self._runner
        if runner is not None:
            return runner
        with self._lock:
            self._open()
            if self._runner is None:
                self._runner = _Runner(
                    self._files, self.manifest.name, link.static_toolchain(self._arch)
                )
            return self._runner


class _Runner:
    """The program that runs steps of a network, in a folder that goes with it."""

    def __init__(self, found: files.Files, program: str, tools: link.Toolchain) -> None:
        folder = Path(tempfile.mkdtemp(prefix="bnn-"))
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        self.program = folder / "runner"
        self.digest = bytes.fromhex(seal.digest(found.manifest, found.members))
        named = dict.fromkeys(abi.EXPORTS, found.description.name)
        named |= dict.fromkeys(abi.PROGRAM, program)
        names = [f"-DBNN_{symbol.upper()}={name}_{symbol}" for symbol, name in named.items()]
        sources = [link.RUNTIME / "bnn_runner.c", *static.unpack(found, folder)]
        command = [*tools.program, "-std=c11", *names, *map(str, sources)]
        link.run([*command, "-o", str(self.program), "-pthread"], folder)


def load(path: str | Path) -> Artifact:
    """An artifact whose steps run under qemu: ``run``, ``verify`` and sessions work as usual.

    Raises ArtifactError if the artifact is damaged or for this kind of machine, and BuildError,
    saying what to install, if qemu-user or, once it is run, the linker is missing.
    """
    found = files.read(Path(path))
    if static.arch_of(found, "emulated") == cpu.machine():
        raise ArtifactError(f"{path} is for this kind of machine: run it without --emulate")
    return Artifact(found.path, found.manifest, found.description, found.size, Emulator(found))


def emulate(
    path: str | Path, inputs: Sequence[NDArray[Any]], threads: int = 1
) -> list[NDArray[np.float32]]:
    """The outputs of the artifact at ``path`` on ``inputs``, computed under qemu.

    Raises what ``load`` and ``Artifact.run`` do.
    """
    with load(path) as artifact:
        artifact.set_threads(threads)
        results = artifact.run(*inputs)
    return list(results) if isinstance(results, tuple) else [results]


def _has_nan(place: int, size: int) -> bool:
    return bool(np.isnan(np.frombuffer(ctypes.string_at(place, size), np.float32).min()))


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
