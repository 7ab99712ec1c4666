"""A kernel alone in a program that times it on inputs from a seed."""

import hashlib
from pathlib import Path

import numpy as np
import tvm
from tvm import tirx

from bnn_compiler import families
from bnn_compiler.deploy.cpu import link
from bnn_compiler.device import program
from bnn_compiler.device.program import Buffer, Program
from bnn_compiler.kernels.cpu import codegen
from bnn_compiler.kernels.point import Point
from bnn_compiler.kernels.task import Task
from bnn_compiler.ops.storage import Storage
from bnn_compiler.target import Target

#: How random inputs are filled, by dtype (device/trial.h).
_FILLS = {"float32": "FLOATS", "int16": "PIXELS"}
#: What the object's start-up record refers to; nothing needs registering here.
STUB = "int TVMFFIEnvModRegisterSystemLibSymbol(const char *n, void *s) { return !n || !s; }\n"


def constants(task: Task, point: Point) -> list[np.ndarray]:
    """The kernel's constants for weights that depend on the task only."""
    work = task.work
    shape = (work.shape[3], *work.kernel, work.x.shape[3] // work.groups)
    rng = np.random.default_rng(0)
    if work.is_binary:
        weights = [rng.choice(np.array([-1, 1], np.int8), shape)]
    elif work.x.storage is Storage.INT16:
        weights = [
            rng.integers(-3000, 3000, shape, np.int16),
            rng.normal(size=shape[0]).astype(np.float32),
            rng.normal(size=shape[:3]),
        ]
    else:
        weights = [rng.normal(size=shape).astype(np.float32)]
    return families.constants(task, point, weights)


def write_object(function: tirx.PrimFunc, device: Target, path: Path) -> int:
    """The C function ``kernel`` as an object file; the extent of its parallel loop."""
    ready = codegen.with_strides(function, {}, "kernel")
    codegen.write_object(codegen.build({"kernel": ready}, device), path)
    return codegen.parallel_extent(function)


def build(
    function: tirx.PrimFunc,
    task: Task,
    point: Point,
    device: Target,
    stem: Path,
    *,
    static: bool = False,
) -> Program:
    """``stem``.run, and next to it ``stem``.bin, its constants.

    Raises BuildError if linking fails.
    """
    kernel, source = stem.with_suffix(".kernel.o"), stem.with_suffix(".c")
    extent = write_object(function, device, kernel)
    values = constants(task, point)
    outputs = len(task.epilogue.outputs)
    count = len(function.params)
    buffers = []
    for i, parameter in enumerate(function.params):
        dtype = str(parameter.ty.dtype)
        size = np.dtype(dtype).itemsize * int(np.prod([int(e) for e in parameter.ty.shape]))
        fill = _FILLS.get(dtype, "BITS")
        if 1 <= i <= len(values):
            fill = "CONSTANT"
        elif i >= count - outputs:
            fill = "OUTPUT"
        buffers.append(Buffer(fill, size))
    arguments = ", ".join(f"p[{i}]" for i in range(count))
    types = ", ".join(["void *"] * count)
    source.write_text(
        program.trial_source(
            digest(task),
            buffers,
            f"int32_t kernel({types}, int32_t first, int32_t last);\n{STUB}",
            f"kernel({arguments}, 0, {extent})",
        )
    )
    built = Program(stem.with_suffix(".run"))
    built.constants.write_bytes(b"".join(np.ascontiguousarray(v).tobytes() for v in values))
    sources = [program.HERE / "trial.c", source, kernel]
    tools = link.toolchain(device.arch, device.link)
    program.executable(tools, built.path, sources, static=static)
    return built


def digest(task: Task) -> str:
    """A task's name in measurements."""
    return hashlib.sha256(task.key.encode()).hexdigest()[:16]


def as_text(function: tirx.PrimFunc) -> str:
    """A kernel for another process."""
    return str(tvm.ir.save_json(function))


def from_text(text: str) -> tirx.PrimFunc:
    """The inverse of ``as_text``."""
    from bnn_compiler.kernels.cpu import intrinsics

    intrinsics.register()
    return tvm.ir.load_json(text)
