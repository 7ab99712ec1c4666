"""What the cost model knows of a schedule: counts of binary operations, bytes, tiles and waste.

TVM's own features put popcount, xor and shifts into one bucket and see no byte shuffle.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from operator import attrgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bnn_compiler import families
from bnn_compiler.kernels.family import Counts
from bnn_compiler.kernels.layout import LANES
from bnn_compiler.kernels.point import Point
from bnn_compiler.kernels.task import Task
from bnn_compiler.target import Hardware

Floats = NDArray[np.float64]
Column = NDArray[Any]

#: Vector instructions issued in a cycle, loads in a cycle, instructions decoded in a cycle: typical
#: of the cores since 2015. The model learns what a given one does differently.
_VECTOR, _LOAD, _DECODE = 2.0, 2.0, 5.0


@dataclass(frozen=True)
class Features:
    """Columns [n]: logarithms to base 2 where a unit is named, plain numbers elsewhere."""

    # What a step computes: a popcount, a look-up, an fma, or a product of integers and a sum.
    is_popcount: Column
    is_table: Column
    is_float: Column
    is_int16: Column
    word: Column
    rows_outside: Column
    strips: Column
    unroll: Column
    pixels: Column
    vectors: Column
    accumulators: Column  # registers
    pressure: Column  # registers wanted / registers there
    xor: Column  # operations per output
    popcount: Column  # operations per output
    lookup: Column  # operations per output
    add: Column  # operations per output
    fma: Column  # operations per output
    scalar: Column  # instructions per output
    loads: Column  # per vector operation
    epilogue: Column  # vector instructions per output
    convert: Column  # per output
    pack: Column  # bits stored per output
    steps: Column  # length of the reduction
    inner: Column  # trip count of the innermost loop
    body: Column  # instructions of the innermost body
    tiles: Column
    grain: Column  # iterations threads can share
    input_bytes: Column
    weight_bytes: Column
    tensor_bytes: Column  # epilogue operands and outputs
    block_bytes: Column  # weights of one tile
    row_bytes: Column  # input rows of one tile
    block_in_l1: Column
    rows_in_l1: Column
    weights_in_l2: Column
    streamed_bytes: Column  # weights re-read from beyond L1
    word_waste: Column  # stored channels / real ones
    lane_waste: Column  # computed outputs / real ones
    stride: Column
    groups: Column
    batch: Column
    vector_bits: Column
    registers: Column
    has_popcount: Column
    l1_kib: Column
    l2_kib: Column


@dataclass(frozen=True)
class Cycles:
    """Rough counts in cycles [n]: so many ``tiles``, each a ``reduction`` and an ``epilogue``."""

    tiles: Floats
    reduction: Floats
    epilogue: Floats

    @property
    def total(self) -> Floats:
        """Of each kernel."""
        return self.tiles * (self.reduction + self.epilogue + 8)


NAMES = tuple(f.name for f in fields(Features))


def matrix(
    task: Task, points: Sequence[Point], hardware: Hardware
) -> tuple[NDArray[np.float32], Floats]:
    """Features [len(points), len(NAMES)] and rough cycles [len(points)]."""
    values, cycles = analyse([(task, points)], hardware)
    return values, cycles.total


def traffic(task: Task) -> int:
    """Bytes of every tensor and weight of the kernel, each once."""
    n, h, w, o = task.work.shape
    kh, kw = task.work.kernel
    weights = o * kh * kw * task.work.x.shape[3] // task.work.groups
    outputs = sum(out.storage.channel_bytes for out in task.epilogue.outputs)
    tensors = sum(t.bytes for t in task.tensors if t is not None)
    stored = weights * task.work.x.storage.channel_bytes
    return int(task.work.x.bytes + stored + n * h * w * o * outputs + tensors)


def analyse(
    spaces: Sequence[tuple[Task, Sequence[Point]]], hardware: Hardware
) -> tuple[NDArray[np.float32], Cycles]:
    """What is known of schedules, one row for each point of each task: features [n, len(NAMES)].

    A task has hundreds of schedules, a search thousands of tasks: all are computed at once.
    """
    rows = []
    for task, points in spaces:
        sizes = _sizes(task)
        rows += [(*sizes, *_counted(families.counts(task, p, hardware))) for p in points]
    table = np.array(rows, np.float64).reshape(len(rows), len(_RAW))
    features, cycles = _features(_Raw(*table.T), hardware)
    columns = [np.broadcast_to(c, len(rows)) for c in attrgetter(*NAMES)(features)]
    return np.stack(columns, axis=1).astype(np.float32), cycles


@dataclass(frozen=True)
class _Raw:
    """Of n schedules [n each]: sizes of their tasks, and a kernel's counts (kernels/family.py).

    ``row_bytes`` are those of the input's rows that a tile reads; ``tensors`` and ``packed`` are
    among the epilogue's operands and ``results``.
    """

    batch: Floats
    height: Floats
    width: Floats
    channels: Floats
    input_bytes: Floats
    row_bytes: Floats
    epilogue_steps: Floats
    tensors: Floats
    results: Floats
    packed: Floats
    narrow: Floats
    is_binary: Floats
    stride: Floats
    groups: Floats
    outputs: Floats
    pixels: Floats
    vectors: Floats
    rows: Floats
    accumulators: Floats
    weights: Floats
    mix_vector: Floats
    mix_loads: Floats
    mix_xor: Floats
    mix_popcount: Floats
    mix_lookup: Floats
    mix_add: Floats
    mix_fma: Floats
    mix_scalar: Floats
    steps: Floats
    inner: Floats
    body: Floats
    word: Floats
    word_bytes: Floats
    word_waste: Floats
    by_channels: Floats
    by_strips: Floats
    by_rows: Floats
    unroll: Floats


_RAW = fields(_Raw)


def _sizes(task: Task) -> tuple[float, ...]:
    """The first columns of a row: what does not depend on the schedule."""
    work = task.work
    return (
        *work.shape,
        work.x.bytes,
        4 * work.x.physical[2] * work.x.channels * work.kernel[0],
        sum(s.work for s in task.epilogue.steps),
        sum(s.reads_tensor for s in task.epilogue.steps),
        len(task.epilogue.outputs),
        sum(o.is_bits for o in task.epilogue.outputs),
        sum(o.is_bytes for o in task.epilogue.outputs),
        work.is_binary,
        work.strides[0],
        work.groups,
    )


def _counted(c: Counts) -> tuple[float, ...]:
    """The others."""
    m, order = c.mix, c.order
    return (
        c.outputs, c.pixels, c.vectors, c.rows, c.accumulators, c.weights,
        m.vector, m.loads, m.xor, m.popcount, m.lookup, m.add, m.fma, m.scalar,
        c.steps, c.inner, c.body, c.word, c.word_bytes, c.word_waste,
        order == "channels", order == "strips", order == "rows", c.unroll,
    )  # fmt: skip


def _log(values: Floats) -> Floats:
    # NumPy's own logarithm has other bits on some CPUs.
    return np.fromiter(map(math.log2, np.maximum(values, 1e-3).tolist()), float, len(values))


def _features(r: _Raw, hardware: Hardware) -> tuple[Features, Cycles]:
    lanes = r.vectors * LANES
    blocks = r.outputs // lanes
    tiles = r.batch * (r.height // r.rows) * (r.width // r.pixels) * blocks
    per_tile = r.pixels * r.rows * lanes
    real = per_tile * r.channels / r.outputs
    float_vectors = per_tile * 32 / hardware.vector_bits
    epilogue = float_vectors * (2 + 1.5 * r.epilogue_steps + r.results)
    stored = r.results - r.packed - r.narrow
    instructions = r.mix_vector + r.mix_loads + r.mix_scalar
    issued = [r.mix_vector / _VECTOR, r.mix_loads / _LOAD, instructions / _DECODE]
    step = np.maximum.reduce(issued)
    block_bytes = r.steps * lanes * r.word_bytes
    weight_bytes = block_bytes * blocks
    outside = np.where(r.by_channels > 0, r.batch, r.batch * r.height)
    l1 = hardware.l1_kib * 1024
    pixels = r.batch * r.height * r.width * r.channels
    n = len(r.batch)

    def same(value: float) -> Floats:
        return np.full(n, float(value))

    features = Features(
        is_popcount=r.mix_popcount > 0,
        is_table=r.mix_lookup > 0,
        is_float=(r.mix_fma > 0) & (r.mix_add == 0),
        is_int16=(r.mix_fma > 0) & (r.mix_add > 0),
        word=r.word,
        strips=r.by_strips,
        rows_outside=r.by_rows,
        unroll=r.unroll,
        pixels=r.pixels,
        vectors=r.vectors,
        accumulators=r.accumulators,
        pressure=(r.accumulators + r.weights + 2) / hardware.vector_registers,
        xor=_log(r.mix_xor * r.steps / real),
        popcount=_log(r.mix_popcount * r.steps / real),
        lookup=_log(r.mix_lookup * r.steps / real),
        add=_log(r.mix_add * r.steps / real),
        fma=_log(r.mix_fma * r.steps / real),
        scalar=_log(r.mix_scalar * r.steps / real),
        loads=r.mix_loads / r.mix_vector,
        epilogue=epilogue / real,
        convert=r.is_binary,
        pack=r.packed,
        steps=_log(r.steps),
        inner=_log(r.inner),
        body=_log(instructions * r.body),
        tiles=_log(tiles),
        grain=_log(r.batch * r.height * blocks),
        input_bytes=_log(r.input_bytes),
        weight_bytes=_log(weight_bytes),
        tensor_bytes=_log(4 * pixels * (r.tensors + stored + r.narrow / 4 + r.packed / 32)),
        block_bytes=_log(block_bytes),
        row_bytes=_log(r.row_bytes),
        block_in_l1=_log(block_bytes / hardware.l1_kib / 1024),
        rows_in_l1=_log((block_bytes + r.row_bytes) / hardware.l1_kib / 1024),
        weights_in_l2=_log((weight_bytes + r.input_bytes) / hardware.l2_kib / 1024),
        streamed_bytes=_log(np.where(weight_bytes > l1, weight_bytes * outside, weight_bytes)),
        word_waste=r.word_waste,
        lane_waste=r.outputs / r.channels,
        stride=r.stride,
        groups=_log(r.groups),
        batch=r.batch,
        vector_bits=same(hardware.vector_bits),
        registers=same(hardware.vector_registers),
        has_popcount=same(hardware.popcount != "shuffle"),
        l1_kib=same(hardware.l1_kib),
        l2_kib=same(hardware.l2_kib),
    )
    return features, Cycles(tiles, r.steps * step, epilogue)
