"""The kernels that can compute a convolution, and the space of all their schedules."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, overload

import numpy as np
import tvm_ffi
from tvm import tirx

from bnn_compiler.kernels.cpu import codegen
from bnn_compiler.kernels.cpu.amx_binary import AmxBinary
from bnn_compiler.kernels.cpu.amx_int8 import AmxInt8
from bnn_compiler.kernels.cpu.depthwise import Depthwise
from bnn_compiler.kernels.cpu.float32 import Float32
from bnn_compiler.kernels.cpu.int8 import Int8
from bnn_compiler.kernels.cpu.int8_depthwise import Int8Depthwise
from bnn_compiler.kernels.cpu.int16 import Int16
from bnn_compiler.kernels.cpu.popcount import Popcount
from bnn_compiler.kernels.cpu.table import Table
from bnn_compiler.kernels.cpu.winograd import Winograd
from bnn_compiler.kernels.cuda import codegen as cuda_codegen
from bnn_compiler.kernels.cuda.half import Half
from bnn_compiler.kernels.cuda.mma import Mma
from bnn_compiler.kernels.cuda.pixel import Pixel
from bnn_compiler.kernels.cuda.popc import Popc
from bnn_compiler.kernels.cuda.scalar import Scalar
from bnn_compiler.kernels.cuda.tiled import Tiled
from bnn_compiler.kernels.family import Counts, Family
from bnn_compiler.kernels.gpu_counts import GpuCounts
from bnn_compiler.kernels.point import Foreign, Point
from bnn_compiler.kernels.task import Task
from bnn_compiler.target import Gpu, Hardware, Target

#: By [target] kind. Where several fit, the rule is the last one's.
FAMILIES: dict[str, tuple[Family[Any, Any], ...]] = {
    "llvm": (
        AmxBinary(),
        Popcount(),
        Table(),
        Float32(),
        Depthwise(),
        Int16(),
        Int8(),
        AmxInt8(),
        Int8Depthwise(),
        Winograd(),
    ),
    "cuda": (Scalar(), Tiled(), Pixel(), Popc(), Mma(), Half()),
}
#: What else makes machine code of a kernel than its TIR, by [target] kind.
_VERSIONS = {"llvm": codegen.VERSION, "cuda": cuda_codegen.VERSION}


def fitting(task: Task, hardware: Hardware | Gpu) -> list[Family[Any, Any]]:
    """The families for ``task``: at least one."""
    return [f for f in FAMILIES[hardware.kind] if f.fits(task, hardware)]


def space(task: Task, hardware: Hardware | Gpu) -> list[Point]:
    """Every schedule of ``task``."""
    return list(points(task, hardware))


def points(task: Task, hardware: Hardware | Gpu) -> Iterator[Point]:
    """The same one after the other: to know a few costs less than to know all."""
    for family in fitting(task, hardware):
        yield from family.points(task, hardware)


def rule(task: Task, hardware: Hardware | Gpu) -> Point:
    """The schedule to use when neither a record nor a model knows better."""
    point: Point = fitting(task, hardware)[-1].rule(task, hardware)
    return point


# Who compares a record's digest asks for it, and then who compiles it.
@lru_cache(maxsize=64)
def function(task: Task, point: Point) -> tirx.PrimFunc:
    """The kernel with the schedule ``point``."""
    return _of(point).function(task, point)


def constants(task: Task, point: Point, weights: Sequence[np.ndarray]) -> list[np.ndarray]:
    """What that kernel reads between its input and its epilogue's operands."""
    return _of(point).constants(task, point, weights)


@overload
def counts(task: Task, point: Point, hardware: Hardware) -> Counts: ...
@overload
def counts(task: Task, point: Point, hardware: Gpu) -> GpuCounts: ...
def counts(task: Task, point: Point, hardware: Hardware | Gpu) -> Counts | GpuCounts:
    """What that kernel does."""
    return _of(point).counts(task, point, hardware)


def point_of(data: Mapping[str, Any]) -> Point:
    """The inverse of ``Point.as_dict``; ``Foreign`` if there is no such family.

    Raises KeyError or TypeError for what is no schedule.
    """
    found = _named(data["family"])
    if found is None:
        return Foreign(json.dumps(dict(data)))
    point: Point = found.point.from_dict(data)
    return point


def digest(function: tirx.PrimFunc, target: Target) -> str:
    """16 hexadecimal digits that change with a kernel and with what makes it machine code."""
    code = tvm_ffi.structural_hash(function, map_free_vars=True) % 2**64
    text = json.dumps([code, _VERSIONS[target.hardware.kind], target.tvm], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _named(name: object) -> Family[Any, Any] | None:
    return next((f for found in FAMILIES.values() for f in found if f.name == name), None)


def _of(point: Point) -> Family[Any, Any]:
    family = _named(point.family)
    assert family is not None, f"no kernel family {point.family!r}"
    return family
