"""What the latency model knows of a kernel on a GPU: launches, waves, steps, instructions, bytes.

``TERMS`` are in proportion to time where nothing else counts, ``NAMES`` is all else. A convolution
is counted at the schedule that ``compile`` picks, other kernels as a thread for each element.
"""

from collections.abc import Sequence
from operator import attrgetter

import numpy as np
from numpy.typing import NDArray

from bnn_compiler import families
from bnn_compiler.cost.pick import Choice
from bnn_compiler.errors import ScheduleError
from bnn_compiler.kernels.cpu.popcount import grouping
from bnn_compiler.kernels.gpu_counts import GpuCounts
from bnn_compiler.kernels.layout import LANES
from bnn_compiler.kernels.task import PlainTask, Task
from bnn_compiler.latency.features import ALIKE, LIKE_STEPS, PLAIN, halo, vectors
from bnn_compiler.latency.kernel import Kernel
from bnn_compiler.ops.epilogue import STEPS
from bnn_compiler.ops.general import Program
from bnn_compiler.ops.rounding import ceil_div, round_up
from bnn_compiler.ops.work import work
from bnn_compiler.target import Gpu

#: Of convolutions the family of the schedule, of plain tasks the operator.
CONVOLUTIONS = (
    "mma", "mma masked", "popc", "popc masked", "scalar", "depthwise", "tiled", "half", "pixel"
)  # fmt: skip
KINDS = (*CONVOLUTIONS, *PLAIN)

#: A launch; loads that wait for each other, meetings of a block's warps and instructions, each in
#: the waves that a multiprocessor goes through; bytes from L2, of every tensor, and beyond L2.
TERMS = (
    "launch", "chain", "meet", "multiply", "epilogue", "l2",
    "read", "tensors", "written", "weights", "beyond",
)  # fmt: skip

#: Warps' instructions in a cycle of a multiprocessor: any, and those of popcounts and tensor cores.
_ISSUE, _SLOW = 4.0, 0.5
#: Blocks of a multiprocessor at most, and threads of one where a thread has an element.
_BLOCKS, _THREADS = 32, 256
#: Registers of a thread that has one element.
_REGISTERS = 24

_STEPS = tuple(kind for kind in STEPS if kind not in LIKE_STEPS)
#: Of a kernel: of GpuCounts, as they are, and as logarithms.
_COUNTS = (
    "blocks", "threads", "is_mma", "is_popc", "multiply", "load", "load_bytes", "steps", "outputs",
    "computed", "registers", "own_pixels", "pixels", "channels", "parts", "shared", "ahead",
)  # fmt: skip
_PLAIN_OWN = (
    "kind", "height", "width", "channels_in", "channels_out", "taps", "stride", "groups", "images",
    "results", "packed", "after",
)  # fmt: skip
_LOG_OWN = ("read", "tensors", "written", "weights", "halo", "elements", "products")
_counted = attrgetter(*_COUNTS)
_RAW = (*_COUNTS, *_PLAIN_OWN, *_LOG_OWN)
_DERIVED = (
    "waves", "tail", "resident", "busy", "multiply_all", "load_all", "per_load", "l2_all",
    "all_bytes", "in_l2", "epilogue_all", "waste", "cycles", "chain_cycles", "cycles_per_byte",
)  # fmt: skip
NAMES = (*_RAW, *_DERIVED, *(f"epilogue_{kind}" for kind in _STEPS))
#: Counts that range over orders of magnitude.
_LOGS = ("blocks", "multiply", "load", "load_bytes", "steps", "computed", "shared")


def matrix(
    kernels: Sequence[Kernel], choices: Sequence[Choice | None], gpu: Gpu
) -> tuple[NDArray[np.float32], NDArray[np.float64], NDArray[np.int64]]:
    """Features [n, NAMES], terms [n, TERMS] and indices of KINDS [n] of kernels with schedules.

    Raises ScheduleError for a kernel of a kind that is not known here.
    """
    rows = [_row(k, c, gpu) for k, c in zip(kernels, choices, strict=True)]
    raw = np.array([r[0] for r in rows], np.float64).reshape(len(rows), len(_RAW))
    steps = np.array([r[1] for r in rows], np.float64).reshape(len(rows), len(_STEPS))
    value = dict(zip(_RAW, raw.T, strict=True))
    derived, terms = _derived(value, gpu)
    columns = [
        *(_log(v) if n in _LOGS or n in _LOG_OWN else v for n, v in value.items()),
        *(derived[name] for name in _DERIVED),
    ]
    x = np.concatenate([np.stack(columns, axis=1), steps], axis=1).astype(np.float32)
    found = np.stack([terms[name] for name in TERMS], axis=1)
    return x, found, value["kind"].astype(np.int64)


def _derived(
    v: dict[str, NDArray[np.float64]], gpu: Gpu
) -> tuple[dict[str, NDArray[np.float64]], dict[str, NDArray[np.float64]]]:
    """What follows from counts: more features, and the terms."""
    warps = np.ceil(v["threads"] / 32)
    resident = np.minimum.reduce(
        [
            np.full(len(warps), float(_BLOCKS)),
            gpu.threads_per_sm // (32 * warps),
            gpu.registers_per_sm // (32 * warps * v["registers"]),
            1024 * gpu.shared_kib // np.maximum(1, v["shared"]),
        ]
    )
    resident = np.maximum(1, resident)
    waves = v["blocks"] / (gpu.sms * resident)
    rounds = np.ceil(waves)
    # A last wave may be of few blocks, and so may be the only one.
    busy = np.minimum(resident, np.ceil(v["blocks"] / gpu.sms))
    peak = np.where(v["is_mma"] + v["is_popc"] > 0, _SLOW, _ISSUE)
    issued = np.maximum(v["multiply"] / peak, (v["multiply"] + 2 * v["load"]) / _ISSUE)
    multiply = rounds * busy * warps * issued * v["steps"]
    epilogue = rounds * busy * warps * v["outputs"] * (v["after"] + 2 * v["parts"]) / _ISSUE
    # Loads that are on their way ahead of their step are not waited for.
    chain = rounds * (v["steps"] / (1 + v["ahead"]) + 1)
    l2 = v["load_bytes"] * v["steps"] * v["threads"] * v["blocks"]
    whole = v["read"] + v["tensors"] + v["written"] + v["halo"] + v["weights"]
    cycles = multiply + epilogue
    derived = {
        "waves": _log(rounds),
        "tail": rounds / waves,
        "resident": 32 * warps * resident / gpu.threads_per_sm,
        "busy": _log(v["blocks"] * warps * 32 / (gpu.sms * gpu.threads_per_sm)),
        "multiply_all": _log(v["multiply"] * v["steps"]),
        "load_all": _log(v["load"] * v["steps"]),
        "per_load": v["multiply"] / v["load"],
        "l2_all": _log(l2),
        "all_bytes": _log(whole),
        "in_l2": _log(whole / (1024 * gpu.l2_kib)),
        "epilogue_all": _log(epilogue),
        "waste": v["computed"] / v["elements"],
        "cycles": _log(cycles),
        "chain_cycles": _log(chain),
        "cycles_per_byte": _log(cycles / whole),
    }
    terms = {
        "launch": np.ones(len(warps)),
        "chain": chain,
        "meet": rounds * (v["shared"] > 0),
        "multiply": multiply,
        "epilogue": epilogue,
        "l2": l2,
        "read": v["read"],
        "tensors": v["tensors"],
        "written": v["written"] + v["halo"],
        "weights": v["weights"],
        "beyond": np.maximum(whole - 1024 * gpu.l2_kib, 0.0),
    }
    return derived, terms


def _row(kernel: Kernel, choice: Choice | None, gpu: Gpu) -> tuple[list[float], list[float]]:
    """_RAW, and how many steps of each kind the epilogue has."""
    task, out = kernel.task, kernel.writes[0]
    n, h, w, channels = out.shape
    window = task.work
    if isinstance(task, Task):
        assert choice is not None
        counts = families.counts(task, choice.point, gpu)
        kind, products = _kind(task, choice), float(task.work.macs)
        weights = products / (n * h * w) * task.work.x.storage.channel_bytes
        inputs = 1
    else:
        kind = ALIKE.get(task.op, task.op)
        if kind not in PLAIN:
            raise ScheduleError(
                f"{kernel.name}: the latency model knows no kernel {kind!r};"
                f" known: {', '.join(KINDS)}"
            )
        counts, weights, inputs = _counts(task, kernel), 0.0, len(task.data)
        products = float(counts.steps * counts.computed)
    data = kernel.reads[:inputs]
    weights += vectors(kernel, task.epilogue)
    own = (
        KINDS.index(kind),
        h,
        w,
        data[0].shape[3],
        channels,
        window.kernel[0] * window.kernel[1] if window else 1,
        window.strides[0] if window else 1,
        window.groups if window else 1,
        n,
        len(task.epilogue.outputs),
        sum(o.is_bits for o in task.epilogue.outputs),
        sum(s.work for s in task.epilogue.steps) + len(task.epilogue.outputs),
        sum(t.bytes for t in data),
        sum(t.bytes for t in kernel.reads[inputs:]),
        sum(t.bytes for t in kernel.writes),
        weights,
        sum(map(halo, kernel.writes)),
        n * h * w * channels,
        products,
    )
    steps = [name for s in task.epilogue.steps for name in LIKE_STEPS.get(s.kind, (s.kind,))]
    return [*map(float, _counted(counts)), *map(float, own)], [
        float(steps.count(s)) for s in _STEPS
    ]


def _kind(task: Task, choice: Choice) -> str:
    family = choice.point.family
    if task.work.is_binary and grouping(task.work).masked:
        return f"{family} masked"
    return "depthwise" if family == "scalar" and task.work.groups > 1 else family


def _counts(task: PlainTask, kernel: Kernel) -> GpuCounts:
    """A thread for each element, or for each word of 32."""
    n, h, w, channels = kernel.writes[0].shape
    bits = any(o.is_bits for o in task.epilogue.outputs)
    computed = n * h * w * round_up(channels, 32 if bits else LANES)
    multiply = PLAIN[ALIKE.get(task.op, task.op)]
    if task.op == "general":
        shapes, lines = task.parameters
        steps = ceil_div(work(Program.parse(lines), shapes), computed)
    elif task.op == "global_mean":
        steps = task.data[0].shape[1] * task.data[0].shape[2]
    elif task.op == "matmul":
        steps = task.data[0].channels
    else:
        steps = task.work.kernel[0] * task.work.kernel[1] if task.work else 1
    threads = min(_THREADS, computed)
    return GpuCounts(
        blocks=ceil_div(computed, threads),
        threads=threads,
        is_mma=False,
        is_popc=task.op == "matmul",
        multiply=multiply,
        load=1,
        load_bytes=task.data[0].itemsize,
        steps=max(1, steps),
        outputs=1,
        computed=computed,
        registers=_REGISTERS,
        own_pixels=1,
        pixels=1,
        channels=1,
    )


def _log(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(np.log2(np.maximum(values, 1e-3)))
