"""What the cost model knows of a schedule: counts of binary operations, bytes, tiles and waste.

TVM's own features put popcount, xor and shifts into one bucket and see no byte shuffle.
"""

import math
from dataclasses import dataclass, fields
from operator import attrgetter

import numpy as np

from bnn_compiler import families
from bnn_compiler.kernels.point import Point
from bnn_compiler.kernels.task import Task
from bnn_compiler.target import Hardware

#: Vector instructions issued in a cycle, loads in a cycle, instructions decoded in a cycle: typical
#: of the cores since 2015. The model learns what a given one does differently.
_VECTOR, _LOAD, _DECODE = 2.0, 2.0, 5.0


@dataclass(frozen=True)
class Features:
    """One row: logarithms to base 2 where a unit is named, plain numbers elsewhere."""

    # What a step computes: a popcount, a look-up, an fma, or a product of integers and a sum.
    is_popcount: float
    is_table: float
    is_float: float
    is_int16: float
    word: float
    rows_outside: float
    strips: float
    unroll: float
    pixels: float
    vectors: float
    accumulators: float  # registers
    pressure: float  # registers wanted / registers there
    xor: float  # operations per output
    popcount: float  # operations per output
    lookup: float  # operations per output
    add: float  # operations per output
    fma: float  # operations per output
    scalar: float  # instructions per output
    loads: float  # per vector operation
    epilogue: float  # vector instructions per output
    convert: float  # per output
    pack: float  # bits stored per output
    steps: float  # length of the reduction
    inner: float  # trip count of the innermost loop
    body: float  # instructions of the innermost body
    tiles: float
    grain: float  # iterations threads can share
    input_bytes: float
    weight_bytes: float
    tensor_bytes: float  # epilogue operands and outputs
    block_bytes: float  # weights of one tile
    row_bytes: float  # input rows of one tile
    block_in_l1: float
    rows_in_l1: float
    weights_in_l2: float
    streamed_bytes: float  # weights re-read from beyond L1
    word_waste: float  # stored channels / real ones
    lane_waste: float  # computed outputs / real ones
    stride: float
    groups: float
    batch: float
    vector_bits: float
    registers: float
    has_popcount: float
    l1_kib: float
    l2_kib: float


@dataclass(frozen=True)
class Cycles:
    """A rough count in cycles: so many ``tiles``, each a ``reduction`` and an ``epilogue``."""

    tiles: int
    reduction: float
    epilogue: float

    @property
    def total(self) -> float:
        """Of the kernel."""
        return self.tiles * (self.reduction + self.epilogue + 8)


NAMES = tuple(f.name for f in fields(Features))
# asdict copies every value, which takes longer than to count it.
_values = attrgetter(*NAMES)


def matrix(task: Task, points: list[Point], hardware: Hardware) -> tuple[np.ndarray, np.ndarray]:
    """Features [len(points), len(NAMES)] and rough cycles [len(points)]."""
    sizes = _Sizes.of(task)
    rows = [_analyse(task, sizes, p, hardware) for p in points]
    values = np.array([_values(f) for f, _ in rows], np.float32)
    return values, np.array([cycles.total for _, cycles in rows])


def traffic(task: Task) -> int:
    """Bytes of every tensor and weight of the kernel, each once."""
    n, h, w, o = task.work.shape
    kh, kw = task.work.kernel
    weights = o * kh * kw * task.work.x.shape[3] // task.work.groups
    outputs = sum(1 / 8 if out.is_bits else 4 for out in task.epilogue.outputs)
    tensors = sum(t.bytes for t in task.tensors if t is not None)
    stored = weights * task.work.x.storage.channel_bytes
    return int(task.work.x.bytes + stored + n * h * w * o * outputs + tensors)


def analyse(task: Task, point: Point, hardware: Hardware) -> tuple[Features, Cycles]:
    """What is known of one schedule of a task."""
    return _analyse(task, _Sizes.of(task), point, hardware)


@dataclass(frozen=True)
class _Sizes:
    """Of a task, whatever its schedule: it has hundreds, so this is counted once.

    ``row_bytes`` are those of the input's rows that a tile reads.
    """

    input_bytes: int
    row_bytes: int
    steps: float
    tensors: int
    outputs: int
    packed: int

    @staticmethod
    def of(task: Task) -> "_Sizes":
        work = task.work
        return _Sizes(
            work.x.bytes,
            4 * work.x.physical[2] * work.x.channels * work.kernel[0],
            sum(s.work for s in task.epilogue.steps),
            sum(s.reads_tensor for s in task.epilogue.steps),
            len(task.epilogue.outputs),
            sum(o.is_bits for o in task.epilogue.outputs),
        )


def _log(value: float) -> float:
    return math.log2(max(value, 1e-3))


def _analyse(
    task: Task, sizes: _Sizes, point: Point, hardware: Hardware
) -> tuple[Features, Cycles]:
    work = task.work
    counts = families.counts(task, point, hardware)
    mix, steps = counts.mix, counts.steps
    n, oh, ow, outputs = work.shape
    blocks = counts.outputs // counts.lanes
    tiles = n * (oh // counts.rows) * (ow // counts.pixels) * blocks
    per_tile = counts.pixels * counts.rows * counts.lanes
    real = per_tile * outputs / counts.outputs
    float_vectors = per_tile * 32 / hardware.vector_bits
    epilogue = float_vectors * (2 + 1.5 * sizes.steps + sizes.outputs)
    tensors, packed = sizes.tensors, sizes.packed
    stored = sizes.outputs - packed
    instructions = mix.vector + mix.loads + mix.scalar
    step = max(mix.vector / _VECTOR, mix.loads / _LOAD, instructions / _DECODE)
    block_bytes = steps * counts.lanes * counts.word_bytes
    weight_bytes = block_bytes * blocks
    outside = n if counts.order == "channels" else n * oh
    streamed = weight_bytes * outside if weight_bytes > hardware.l1_kib * 1024 else weight_bytes

    features = Features(
        is_popcount=mix.popcount > 0,
        is_table=mix.lookup > 0,
        is_float=mix.fma > 0 and mix.add == 0,
        is_int16=mix.fma > 0 and mix.add > 0,
        word=counts.word,
        strips=counts.order == "strips",
        rows_outside=counts.order == "rows",
        unroll=counts.unroll,
        pixels=counts.pixels,
        vectors=counts.vectors,
        accumulators=counts.accumulators,
        pressure=(counts.accumulators + counts.weights + 2) / hardware.vector_registers,
        xor=_log(mix.xor * steps / real),
        popcount=_log(mix.popcount * steps / real),
        lookup=_log(mix.lookup * steps / real),
        add=_log(mix.add * steps / real),
        fma=_log(mix.fma * steps / real),
        scalar=_log(mix.scalar * steps / real),
        loads=mix.loads / mix.vector,
        epilogue=epilogue / real,
        convert=1.0 if work.is_binary else 0.0,
        pack=packed,
        steps=_log(steps),
        inner=_log(counts.inner),
        body=_log(instructions * counts.body),
        tiles=_log(tiles),
        grain=_log(n * oh * blocks),
        input_bytes=_log(sizes.input_bytes),
        weight_bytes=_log(weight_bytes),
        tensor_bytes=_log(4 * n * oh * ow * outputs * (tensors + stored + packed / 32)),
        block_bytes=_log(block_bytes),
        row_bytes=_log(sizes.row_bytes),
        block_in_l1=_log(block_bytes / hardware.l1_kib / 1024),
        rows_in_l1=_log((block_bytes + sizes.row_bytes) / hardware.l1_kib / 1024),
        weights_in_l2=_log((weight_bytes + sizes.input_bytes) / hardware.l2_kib / 1024),
        streamed_bytes=_log(streamed),
        word_waste=counts.word_waste,
        lane_waste=counts.outputs / outputs,
        stride=work.strides[0],
        groups=_log(work.groups),
        batch=n,
        vector_bits=hardware.vector_bits,
        registers=hardware.vector_registers,
        has_popcount=hardware.popcount != "shuffle",
        l1_kib=hardware.l1_kib,
        l2_kib=hardware.l2_kib,
    )
    return features, Cycles(tiles, steps * step, epilogue)
