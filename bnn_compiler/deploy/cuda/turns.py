"""A script that holds several networks for a GPU and times them in turns: turns_program.py."""

import hashlib
import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tvm import tirx

from bnn_compiler.deploy.cpu.trial import TrialProgram
from bnn_compiler.deploy.cuda import launcher
from bnn_compiler.errors import BuildError
from bnn_compiler.kernels.cuda import codegen
from bnn_compiler.kernels.cuda.device_code import DeviceCode
from bnn_compiler.ops.rounding import round_up
from bnn_compiler.plan.program import Argument, Program
from bnn_compiler.runtime.manifest import ALIGN
from bnn_compiler.target import Target

_HERE = Path(__file__).parent
#: The script, and what it imports, which is not there where it runs.
SOURCES = (_HERE / "turns_program.py", _HERE / "trial_program.py")
#: Of parameters that say where a kernel reads: no other numbers can stand for them.
_INDICES = ("int32", "int64")


@dataclass(frozen=True)
class Network:
    """A program's machine code, launches and indices; of its constants else the sizes only."""

    described: dict[str, Any]
    image: bytes
    indices: bytes

    @property
    def steps(self) -> int:
        """Of a run."""
        return len(self.described["steps"])


def compiled(program: Program, functions: Mapping[str, tirx.PrimFunc], target: Target) -> Network:
    """For the GPU that ``target`` names. Raises BuildError if nvcc fails."""
    code = codegen.build(functions, target)
    image = code.images[f"sm_{target.gpu.sm}"]
    at = round_up(program.workspace, ALIGN)
    ports: dict[int, int] = {}
    for buffer in (*program.inputs, *program.outputs):
        ports[buffer.id] = at
        at += round_up(buffer.layout.bytes, ALIGN)
    symbols = sorted({s.kernel for s in program.steps})
    indices = _indices(program, functions)
    described = {
        "image": len(image),
        "memory": at,
        "weights": max(1, len(program.weights)),
        "kernels": [_kernel(code, symbol) for symbol in symbols],
        "steps": [
            [
                symbols.index(s.kernel),
                [_place(s.arguments[i], ports) for i in code.launches[s.kernel].order],
            ]
            for s in program.steps
        ],
        "indices": list(indices.items()),
    }
    data = b"".join(bytes(program.weights[i : i + size]) for i, size in indices.items())
    return Network(described, image, data)


def identity(networks: Sequence[Network]) -> str:
    """Changes with the code of any of them, or their order."""
    digest = hashlib.sha256()
    for network in networks:
        digest.update(hashlib.sha256(network.image + network.indices).digest())
        digest.update(json.dumps(network.described, sort_keys=True).encode())
    return digest.hexdigest()[:16]


def build(stem: Path, networks: Sequence[Network]) -> TrialProgram:
    """``stem``.run, a script; the first of ``networks`` is the reference, all others are timed.

    What it measures is called ``identity(networks)``. Raises BuildError.
    """
    if len(networks) < 2:
        raise BuildError("a reference and a network, at least, take turns")
    built = TrialProgram(stem.with_suffix(".run"))
    described = {"id": identity(networks), "networks": [n.described for n in networks]}
    parts = [json.dumps(described).encode(), b"\n"]
    for network in networks:
        parts += [network.image, network.indices]
    built.constants.write_bytes(b"".join(parts))
    built.path.write_bytes(_script())
    built.path.chmod(0o755)
    return built


def _script() -> bytes:
    """Python runs a zip file that has a first line; the same bytes every time."""
    package = "bnn_compiler/deploy/cuda"
    files = {f"{package}/{path.name}": path.read_text() for path in SOURCES}
    for folder in (package, "bnn_compiler/deploy", "bnn_compiler"):
        files[f"{folder}/__init__.py"] = ""
    main = SOURCES[0].stem
    module = f"{package.replace('/', '.')}.{main}"
    files["__main__.py"] = f"import sys\nfrom {module} import main\n\nmain(sys.argv[1:])\n"
    memory = io.BytesIO()
    with zipfile.ZipFile(memory, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted(files):
            archive.writestr(zipfile.ZipInfo(name), files[name])
    return b"#!/usr/bin/env python3\n" + memory.getvalue()


def _kernel(code: DeviceCode, symbol: str) -> dict[str, Any]:
    launch = code.launches[symbol]
    return {
        "symbol": launch.symbol,
        "grid": launch.grid,
        "block": launch.block,
        "shared": launch.shared,
        "early": launch.symbol in launcher.waiting(code.ptx),
    }


def _place(argument: Argument, ports: Mapping[int, int]) -> tuple[int, int]:
    """Whether it is a constant, and the offset in the constants or in the memory."""
    buffer = argument.buffer
    if buffer is None:
        return 1, argument.weights
    offset = ports.get(buffer.id, buffer.offset)
    return 0, offset + (buffer.layout.interior if argument.interior else 0)


def _indices(program: Program, functions: Mapping[str, tirx.PrimFunc]) -> dict[int, int]:
    """The bytes of constants that are indices, by their offset."""
    found = {}
    for step in program.steps:
        parameters = functions[step.kernel].params
        for argument, parameter in zip(step.arguments, parameters, strict=True):
            if argument.buffer is None and str(parameter.ty.dtype) in _INDICES:
                found[argument.weights] = argument.size
    return found
