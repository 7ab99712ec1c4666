"""A kernel alone in a shared library, with a loop in C that times it."""

from pathlib import Path
from typing import Any

import numpy as np
import tvm
from tvm import tirx

from bnn_compiler.deploy import link
from bnn_compiler.kernels import codegen, families
from bnn_compiler.kernels.point import Point
from bnn_compiler.kernels.task import Task
from bnn_compiler.target import Target

_SOURCE = """\
#define _POSIX_C_SOURCE 199309L
#include <stdint.h>
#include <time.h>

int32_t kernel({types}, int32_t first, int32_t last);
__attribute__((visibility("hidden"))) int TVMFFIEnvModRegisterSystemLibSymbol(const char *name,
                                                                              void *symbol) {{
  (void)name;
  (void)symbol;
  return 0;
}}

static double now(void) {{
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}}

/* Seconds of ``loops`` calls. */
double bnn_measure(void **p, int32_t count, int32_t loops) {{
  double start = now();
  for (int32_t i = 0; i < loops; ++i) kernel({values}, 0, count);
  return now() - start;
}}
"""


def constants(task: Task, point: Point) -> list[np.ndarray]:
    """The kernel's constants for weights that depend on the task only."""
    work = task.work
    shape = (work.shape[3], *work.kernel, work.x.shape[3] // work.groups)
    rng = np.random.default_rng(0)
    kind = work.x.dtype
    if kind == "uint32":
        weights = [rng.choice(np.array([-1, 1], np.int8), shape)]
    elif kind == "int16":
        weights = [
            rng.integers(-3000, 3000, shape, np.int16),
            rng.normal(size=shape[0]).astype(np.float32),
            rng.normal(size=shape[:3]),
        ]
    else:
        weights = [rng.normal(size=shape).astype(np.float32)]
    found: list[np.ndarray] = families.FAMILIES[point.family].constants(work, point, *weights)
    return found


def build(function: tirx.PrimFunc, task: Task, point: Point, device: Target, stem: Path) -> Path:
    """``stem``.so, and next to it ``stem``.npz: constants and how to allocate the rest.

    Raises BuildError if linking fails.
    """
    extent = codegen.parallel_extent(function)
    ready = codegen.with_strides(function, {}, "kernel")
    kernel = stem.with_suffix(".kernel.o")
    codegen.write_object(codegen.build({"kernel": ready}, device), kernel)
    count = len(function.params)
    source = stem.with_suffix(".c")
    source.write_text(
        _SOURCE.format(
            types=", ".join(["void *"] * count),
            values=", ".join(f"p[{i}]" for i in range(count)),
        )
    )
    shared = stem.with_suffix(".so")
    library = link.toolchain(device.arch, device.link).library
    link.run([*library, "-O2", "-fPIC", "-o", str(shared), str(source), str(kernel)], stem.parent)
    arrays: dict[str, Any] = {f"constant{i}": c for i, c in enumerate(constants(task, point))}
    parameters = [
        f"{p.ty.dtype}:{'x'.join(str(int(e)) for e in p.ty.shape)}" for p in function.params
    ]
    outputs = len(task.epilogue.outputs)
    np.savez(
        stem.with_suffix(".npz"),
        task=task.key,
        extent=extent,
        outputs=outputs,
        params=parameters,
        **arrays,
    )
    return shared


def as_text(function: tirx.PrimFunc) -> str:
    """A kernel for another process."""
    return str(tvm.ir.save_json(function))


def from_text(text: str) -> tirx.PrimFunc:
    """The inverse of ``as_text``."""
    from bnn_compiler.kernels import intrinsics

    intrinsics.register()
    return tvm.ir.load_json(text)
