"""What the cost model knows of a schedule for a GPU: waves, occupancy, instructions and bytes.

A rough time is the launch, and then the larger of what the waves of blocks and what memory takes. A
wave takes the larger of its instructions and of its chain of loads, each of which waits for L2.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from bnn_compiler import families
from bnn_compiler.cost.features import traffic
from bnn_compiler.kernels.gpu_counts import GpuCounts
from bnn_compiler.kernels.point import Point
from bnn_compiler.kernels.task import Task
from bnn_compiler.target import Gpu

#: Cycles of a launch behind another, of a load from L2, of a meeting of a block's warps.
_LAUNCH, _LOAD, _MEET = 1800.0, 600.0, 200.0
#: Bytes in a cycle: of memory and of L2, for each multiprocessor (an H100's: 2.96 TB/s).
_MEMORY, _L2 = 13.0, 40.0
#: Warps' instructions in a cycle of a multiprocessor: any, popcounts, products of tensor cores.
_ISSUE, _POPC, _MMA = 4.0, 0.5, 0.5
#: Blocks of a multiprocessor at most.
_BLOCKS = 32
#: Cycles of a second: what a rough time is in seconds, of any of these GPUs.
_HERTZ = 1.7e9


@dataclass(frozen=True)
class Features:
    """One schedule: logarithms to base 2 where a unit is named, plain numbers elsewhere."""

    is_mma: float
    is_popc: float
    own_pixels: float  # of a warp's or a thread's tile
    pixels: float  # of a block's tile
    channels: float
    parts: float
    threads: float  # of a block
    blocks: float
    waves: float  # rounded up
    tail: float  # waves rounded up / waves
    resident: float  # warps of a multiprocessor / those it can have
    busy: float  # warps of the grid / those the GPU can have
    registers: float
    shared: float  # bytes of a block
    steps: float  # of a thread
    ahead: float
    multiply: float  # instructions of a thread
    load: float  # instructions of a thread
    per_load: float  # multiplications a load
    l2_bytes: float  # all that is loaded
    memory_bytes: float  # every tensor once
    in_l2: float  # those bytes / the cache
    epilogue: float  # operations of a thread
    waste: float  # computed outputs / real ones
    reads: float  # tensors the epilogue reads
    results: float
    packed: float  # results that are bits
    reduction: float  # products of an output
    groups: float
    stride: float
    batch: float
    sms: float


NAMES = tuple(f.name for f in fields(Features))


def analyse(
    spaces: Sequence[tuple[Task, Sequence[Point]]], gpu: Gpu
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Features [n, len(NAMES)] and rough seconds [n], one row for each point of each task."""
    rows, rough = [], []
    for task, points in spaces:
        whole = traffic(task)
        for point in points:
            found, seconds = _of(task, families.counts(task, point, gpu), gpu, whole)
            rows.append([getattr(found, n) for n in NAMES])
            rough.append(seconds)
    table = np.array(rows, np.float32).reshape(len(rows), len(NAMES))
    return table, np.array(rough, np.float64)


def _of(task: Task, c: GpuCounts, gpu: Gpu, whole: int) -> tuple[Features, float]:
    work, outputs = task.work, task.epilogue.outputs
    warps = math.ceil(c.threads / 32)
    blocks = min(
        _BLOCKS,
        gpu.threads_per_sm // (32 * warps),
        gpu.registers_per_sm // (32 * warps * c.registers),
        1024 * gpu.shared_kib // max(1, c.shared),
    )
    blocks = max(1, blocks)
    waves = c.blocks / (gpu.sms * blocks)
    rounds = math.ceil(waves)
    # A last wave may be of few blocks, and so may be the only one.
    busy = min(blocks, math.ceil(c.blocks / gpu.sms))
    after = sum(s.work for s in task.epilogue.steps) + len(outputs) + 2 * c.parts
    epilogue = c.outputs * after
    multiply, load = c.multiply * c.steps, c.load * c.steps
    peak = _MMA if c.is_mma else _POPC if c.is_popc else _ISSUE
    issued = max(c.multiply / peak, (c.multiply + 2 * c.load) / _ISSUE) * c.steps
    instructions = busy * warps * (issued + epilogue / _ISSUE)
    chain = _LOAD * (c.steps / (1 + c.ahead) + 1) + (_MEET * 2 if c.shared else 0)
    l2 = c.load_bytes * c.steps * c.threads * c.blocks
    memory = max(whole / _MEMORY, l2 / _L2) / gpu.sms
    cycles = _LAUNCH + max(rounds * max(instructions, chain), memory)
    found = Features(
        is_mma=c.is_mma,
        is_popc=c.is_popc,
        own_pixels=c.own_pixels,
        pixels=c.pixels,
        channels=c.channels,
        parts=c.parts,
        threads=c.threads,
        blocks=math.log2(c.blocks),
        waves=math.log2(rounds),
        tail=rounds / waves,
        resident=blocks * warps * 32 / gpu.threads_per_sm,
        busy=math.log2(c.blocks * warps * 32 / (gpu.sms * gpu.threads_per_sm)),
        registers=c.registers,
        shared=math.log2(max(1, c.shared)),
        steps=math.log2(c.steps),
        ahead=c.ahead,
        multiply=math.log2(multiply),
        load=math.log2(load),
        per_load=c.multiply / c.load,
        l2_bytes=math.log2(l2),
        memory_bytes=math.log2(whole),
        in_l2=math.log2(whole / (1024 * gpu.l2_kib)),
        epilogue=math.log2(max(1.0, epilogue)),
        waste=c.computed / math.prod(work.shape),
        reads=sum(s.reads_tensor for s in task.epilogue.steps),
        results=len(outputs),
        packed=sum(o.is_bits for o in outputs),
        reduction=math.log2(work.macs / math.prod(work.shape)),
        groups=math.log2(work.groups),
        stride=work.strides[0],
        batch=work.shape[0],
        sms=gpu.sms,
    )
    return found, cycles / _HERTZ
