"""What the latency model knows of a kernel in a network: counts of work and of bytes.

A convolution has the cost model's features at the schedule that ``compile`` picks; every kernel has
its bytes. ``TERMS`` are in proportion to time where nothing else counts, ``NAMES`` is all else.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bnn_compiler import families
from bnn_compiler.cost import features as cost
from bnn_compiler.cost.pick import Choice
from bnn_compiler.errors import ScheduleError
from bnn_compiler.kernels.layout import Layout
from bnn_compiler.kernels.task import PlainTask, Task
from bnn_compiler.latency.kernel import Kernel
from bnn_compiler.ops.epilogue import STEPS, Epilogue
from bnn_compiler.ops.functions import FUNCTIONS
from bnn_compiler.ops.general import Program
from bnn_compiler.ops.storage import Storage
from bnn_compiler.ops.work import work
from bnn_compiler.target import Hardware

#: Kinds of kernels, each with coefficients of its own: of convolutions the family of the schedule,
#: of plain tasks the operator. A masked kernel hides other groups' channels in every step.
CONVOLUTIONS = ("popcount", "popcount masked", "table", "float32", "depthwise", "int16", "winograd")
#: Of plain operators, vector instructions for an output element and tap.
PLAIN = {
    "to_nhwc": 16.0,
    "to_nchw": 16.0,
    "bits_max_pool2d": 3.0,
    "map": 1.0,
    "bytes": 1.0,
    "max_pool2d": 1.0,
    "avg_pool2d": 1.0,
    "global_mean": 1.0,
    "concat": 2.0,
    "pad": 2.0,
    "resize2d": 4.0,
}
KINDS = (*CONVOLUTIONS, *PLAIN)
#: Plain operators that are counted as another one, which moves channels like them: a kind of their
#: own would make every model that was learnt before worthless.
ALIKE = {
    **dict.fromkeys(("tile", "pad_channels", "general", "plain", "matmul"), "concat"),
    "tokens": "map",
    "image_bytes": "to_nhwc",
}
#: Families that are counted as others, for the same reason.
LIKE = {"int8": "int16", "int8_depthwise": "depthwise"}

#: Cycles of reductions and of epilogues, tiles, rows, bytes, halos; each in proportion to time.
TERMS = ("reduction", "epilogue", "tiles", "rows", "read", "tensors", "written", "weights", "call")

#: Steps that are counted as others, for the same reason.
LIKE_STEPS: dict[str, tuple[str, ...]] = {
    "add_pad": ("add",),
    "add_avg2_tile": ("add_tile", "add_avg2"),
    **dict.fromkeys(("multiply", "divide", "divide_into", "minimum", "maximum"), ("add",)),
    **dict.fromkeys(FUNCTIONS, ("affine",)),
}
_OWN = (
    "kind",
    "read_bytes",
    "tensor_bytes",
    "written_bytes",
    "constant_bytes",
    "all_bytes",
    "all_in_l1",
    "all_in_l2",
    "halo_bytes",
    "height",
    "width",
    "channels_in",
    "channels_out",
    "taps",
    "elements",
    "cycles",
    "cycles_per_byte",
    *(f"epilogue_{kind}" for kind in STEPS if kind not in LIKE_STEPS),
    "stores_float",
)
NAMES = (*(f"schedule_{name}" for name in cost.NAMES), *_OWN)
_WEIGHT_BYTES = cost.NAMES.index("weight_bytes")


def matrix(
    kernels: Sequence[Kernel], choices: Sequence[Choice | None], hardware: Hardware
) -> tuple[NDArray[np.float32], NDArray[np.float64], NDArray[np.int64]]:
    """Features [n, NAMES], terms [n, TERMS] and indices of KINDS [n] of kernels with schedules.

    Raises ScheduleError for a kernel of a kind that is not known here.
    """
    picked = [
        (k.task, [c.point])
        for k, c in zip(kernels, choices, strict=True)
        if isinstance(k.task, Task) and c is not None
    ]
    known, cycles = cost.analyse(picked, hardware)
    columns = (cycles.tiles, cycles.reduction, cycles.epilogue)
    schedules = iter(zip(known.tolist(), *(c.tolist() for c in columns), strict=True))
    rows = [
        _row(k, c, hardware, next(schedules) if isinstance(k.task, Task) else None)
        for k, c in zip(kernels, choices, strict=True)
    ]
    return (
        np.array([r[0] for r in rows], np.float32).reshape(len(rows), len(NAMES)),
        np.array([r[1] for r in rows]).reshape(len(rows), len(TERMS)),
        np.array([r[2] for r in rows], np.int64),
    )


def _row(
    kernel: Kernel,
    choice: Choice | None,
    hardware: Hardware,
    schedule: tuple[list[float], float, float, float] | None,
) -> tuple[list[float], list[float], int]:
    """``schedule`` has the cost model's features, tiles, and the cycles of one: a convolution's."""
    task = kernel.task
    if isinstance(task, Task):
        assert choice is not None and schedule is not None
        counts = families.counts(task, choice.point, hardware)
        kind = LIKE.get(choice.point.family, choice.point.family)
        if counts.mix.xor and counts.grouping.masked:
            kind += " masked"
        known, tiles, reduction, epilogue = schedule
        weights = 2.0 ** known[_WEIGHT_BYTES]
        reduction, epilogue = tiles * reduction, tiles * epilogue
    else:
        kind = ALIKE.get(task.op, task.op)
        known = [math.nan] * len(cost.NAMES)
        reduction, epilogue = _plain(task, kernel, hardware) if kind in PLAIN else (0.0, 0.0)
        tiles, weights = 0.0, 0.0
    if kind not in KINDS:
        raise ScheduleError(
            f"{kernel.name}: the latency model knows no kernel {kind!r}; known: {', '.join(KINDS)}"
        )
    data = kernel.reads[: 1 if isinstance(task, Task) else len(task.data)]
    tensors = sum(t.bytes for t in kernel.reads[len(data) :])
    read, written = sum(t.bytes for t in data), sum(t.bytes for t in kernel.writes)
    halos = sum(halo(t) for t in kernel.writes)
    constants = weights + vectors(kernel, task.epilogue)
    total = read + tensors + written + constants
    out = kernel.writes[0]
    n, h, w, channels = out.shape
    work = task.work
    cycles_all = max(reduction + epilogue, 1.0)
    steps = [name for s in task.epilogue.steps for name in LIKE_STEPS.get(s.kind, (s.kind,))]
    own = [
        float(KINDS.index(kind)),
        _log(read),
        _log(tensors),
        _log(written),
        _log(constants),
        _log(total),
        _log(total / 1024 / hardware.l1_kib),
        _log(total / 1024 / hardware.l2_kib),
        _log(halos),
        float(h),
        float(w),
        float(data[0].shape[3]),
        float(channels),
        float(work.kernel[0] * work.kernel[1]) if work else 1.0,
        _log(n * h * w * channels),
        _log(cycles_all),
        _log(cycles_all / total),
        *(float(steps.count(name)) for name in STEPS if name not in LIKE_STEPS),
        float(sum(o.storage is Storage.FLOAT32 for o in task.epilogue.outputs)),
    ]
    terms = [
        reduction,
        epilogue,
        tiles,
        float(n * h),
        float(read),
        float(tensors),
        float(written + halos),
        float(constants),
        1.0,
    ]
    return known + own, terms, KINDS.index(kind)


def _plain(task: PlainTask, kernel: Kernel, hardware: Hardware) -> tuple[float, float]:
    """Rough cycles of what a plain kernel computes, and of its epilogue."""
    lanes = hardware.vector_bits / 32
    if task.op == "general":
        shapes, lines = task.parameters
        # Two vector instructions a cycle, as the cost model has it.
        return work(Program.parse(lines), shapes, apart=int(lanes)) / lanes / 2, 0.0
    n, h, w, _ = kernel.writes[0].shape
    elements = n * h * w * kernel.writes[0].channels
    if task.op == "global_mean":
        taps = task.data[0].shape[1] * task.data[0].shape[2]
    else:
        taps = task.work.kernel[0] * task.work.kernel[1] if task.work else 1
    each = PLAIN[ALIKE.get(task.op, task.op)]
    if task.op == "matmul":
        # A load, xor, popcount and sum for each word, measured beside copies of channels.
        taps, each = task.data[0].channels, 3.0 if hardware.popcount == "shuffle" else 1.0
    after = 1.5 * sum(s.work for s in task.epilogue.steps) + len(task.epilogue.outputs)
    return each * taps * elements / lanes, after * elements / lanes


def vectors(kernel: Kernel, epilogue: Epilogue) -> float:
    """Bytes of the epilogue's vectors."""
    steps = sum(STEPS[s.kind].operands for s in epilogue.steps if not s.reads_tensor)
    outputs = sum(o.operands for o in epilogue.outputs)
    return 4.0 * (steps + outputs) * kernel.writes[0].shape[3]


def halo(layout: Layout) -> int:
    """Bytes of a result that are no image."""
    _, h, w, _ = layout.shape
    n, ph, pw, c = layout.physical
    return n * (ph * pw - h * w) * c * layout.itemsize


def _log(value: float) -> float:
    return math.log2(max(value, 1e-3))
