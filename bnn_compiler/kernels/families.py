"""The kernels that can compute a convolution, and the space of all their schedules."""

from types import ModuleType

from bnn_compiler.kernels.cpu import (
    channelwise,
    depthwise,
    float32,
    int16,
    popcount,
    table,
    winograd,
)
from bnn_compiler.kernels.grouping import Grouping
from bnn_compiler.kernels.point import Point
from bnn_compiler.kernels.workload import ConvWorkload
from bnn_compiler.target import Hardware

#: Each module has points(), rule(), constants() and function().
FAMILIES: dict[str, ModuleType] = {
    "popcount": popcount,
    "table": table,
    "float32": float32,
    "depthwise": depthwise,
    "int16": int16,
    "winograd": winograd,
}


def is_binary(work: ConvWorkload) -> bool:
    """Whether the input is packed bits."""
    return work.x.dtype == "uint32"


def grouping(work: ConvWorkload) -> Grouping:
    """How the groups of ``work`` map onto words and vectors."""
    found: Grouping = (popcount if is_binary(work) else float32).grouping(work)
    return found


#: Families by the dtype of the input.
_BY_INPUT = {"uint32": ("popcount", "table"), "float32": ("float32",), "int16": ("int16",)}


def _names(work: ConvWorkload) -> tuple[str, ...]:
    if channelwise.is_depthwise(work):
        return ("depthwise",)
    return ("winograd",) if work.winograd else _BY_INPUT[work.x.dtype]


def space(work: ConvWorkload, hardware: Hardware) -> list[Point]:
    """Every schedule of ``work``."""
    names = _names(work)
    return [point for name in names for point in FAMILIES[name].points(work, hardware)]


def rule(work: ConvWorkload, hardware: Hardware) -> Point:
    """The schedule to use when neither a record nor a model knows better."""
    if is_binary(work):
        return table.rule(work, hardware) or popcount.rule(work, hardware)
    (name,) = _names(work)
    found: Point = FAMILIES[name].rule(work, hardware)
    return found
