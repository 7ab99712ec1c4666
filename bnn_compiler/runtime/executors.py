"""What runs an artifact here, by the kind of its target."""

from collections.abc import Callable

from bnn_compiler.errors import ArtifactError, InputError
from bnn_compiler.runtime.cuda import CudaExecutor
from bnn_compiler.runtime.executor import Executor, LibraryExecutor
from bnn_compiler.runtime.files import Files
from bnn_compiler.runtime.manifest import Manifest
from bnn_compiler.runtime.part import LibraryPart


def _cpu(found: Files, device: int | None) -> Executor:
    if device is not None:
        raise InputError(f"device {device}: {found.path} is for a CPU")
    return LibraryExecutor(found.path, found.description, found.library)


def _cuda(found: Files, device: int | None) -> Executor:
    if device is not None and device < 0:
        raise InputError(f"device {device}; give the number of a GPU, from 0")
    number = -1 if device is None else device
    return CudaExecutor(found.path, found.description, found.library, number)


def part(whole: Executor, manifest: Manifest) -> Executor:
    """What runs the program that ``manifest`` describes, of another batch size than ``whole`` does.

    It shares the code and the threads. Raises ArtifactError where there can be none.
    """
    if isinstance(whole, LibraryExecutor):
        return LibraryPart(whole, manifest)
    # An emulator is of deploy/, which this package does not know.
    make = getattr(whole, "at", None)
    if make is None:
        raise ArtifactError(f"{manifest.name}: {type(whole).__name__} runs one batch size")
    made: Executor = make(manifest)
    return made


EXECUTORS: dict[str, Callable[[Files, int | None], Executor]] = {"llvm": _cpu, "cuda": _cuda}


def of(found: Files, device: int | None) -> Executor:
    """The executor of an artifact on GPU ``device``, None for what needs none.

    Raises ArtifactError for a kind of target that is not known, InputError for a device that is
    none.
    """
    kind = found.description.target.kind
    make = EXECUTORS.get(kind)
    if make is None:
        known = ", ".join(EXECUTORS)
        raise ArtifactError(f"{found.path} is for {kind!r} machines; this version runs {known}")
    return make(found, device)
