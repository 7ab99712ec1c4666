"""What makes machine code of a program: one backend for each kind of TVM target."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from numpy.typing import NDArray
from tvm import tirx

from bnn_compiler.deploy.cpu import backend as cpu
from bnn_compiler.deploy.cpu.trial import TrialProgram
from bnn_compiler.deploy.cuda import backend as cuda
from bnn_compiler.errors import TargetError
from bnn_compiler.kernels.layout import Layout
from bnn_compiler.plan.program import Program
from bnn_compiler.runtime.manifest import Manifest
from bnn_compiler.target import Target


class Backend(Protocol):
    """A module with these functions."""

    def check(self, target: Target) -> None:
        """Raise TargetError or BuildError unless code for ``target`` can be made and linked."""

    def build(
        self,
        folder: Path,
        program: Program,
        functions: Mapping[str, tirx.PrimFunc],
        target: Target,
        draft: Manifest,
        progress: Callable[[str], None],
    ) -> tuple[dict[str, Any], dict[str, Path]]:
        """The manifest of the artifact as JSON and its other files, built in ``folder``.

        ``functions`` are the kernels by symbol. ``draft`` is the manifest before anything is
        linked. Raises BuildError.
        """

    def trial(
        self,
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
        """A program at ``stem`` that times one kernel: an ``image``, ``constants``, other inputs
        and ``outputs`` results. The image and the results have ``channels``, what is stored besides
        may hold anything. ``name`` is what it calls the kernel. Raises BuildError.
        """


#: Backends by [target] kind.
BACKENDS: dict[str, Backend] = {"llvm": cpu, "cuda": cuda}


def of(target: Target) -> Backend:
    """The backend of a target. Raises TargetError if there is none."""
    kind = target.tvm.get("kind")
    found = BACKENDS.get(str(kind))
    if found is None:
        known = ", ".join(map(repr, BACKENDS))
        raise TargetError(f"target {target.name}: [target] kind is {kind!r}; known: {known}")
    return found
