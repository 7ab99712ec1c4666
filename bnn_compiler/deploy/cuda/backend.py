"""The backend of GPUs: cubins and PTX, in NAME.so and NAME.a with the C that launches them."""

import platform
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from tvm import tirx

from bnn_compiler.deploy.cpu import link
from bnn_compiler.deploy.cpu.trial import TrialProgram
from bnn_compiler.deploy.cuda import bundle
from bnn_compiler.deploy.cuda.trial import kernel
from bnn_compiler.kernels.cuda import codegen
from bnn_compiler.kernels.layout import Layout
from bnn_compiler.plan.program import Program
from bnn_compiler.runtime.manifest import Manifest
from bnn_compiler.target import Target


def check(target: Target) -> None:
    """Raise TargetError for an architecture nvcc does not know, BuildError without nvcc or cc."""
    codegen.check(target)
    _tools(target)


def build(
    folder: Path,
    program: Program,
    functions: Mapping[str, tirx.PrimFunc],
    target: Target,
    draft: Manifest,
    progress: Callable[[str], None],
) -> tuple[dict[str, Any], dict[str, Path]]:
    """See Backend.build."""
    progress("codegen")
    code = codegen.build(functions, target)
    progress("link")
    return bundle.package(folder, program, code, draft, _tools(target))


def trial(
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
    """See Backend.trial: a script, which runs wherever there is Python, ``static`` or not."""
    return kernel(function, name, constants, outputs, channels, target, stem)


def _tools(target: Target) -> link.Toolchain:
    """What compiles and links the launcher, for this machine."""
    return link.toolchain(platform.machine(), target.link)
