"""What the cost model knows of a schedule: counts of binary operations, bytes, tiles and waste.

TVM's own features put popcount, xor and shifts into one bucket and see no byte shuffle.
"""

import math
from dataclasses import asdict, dataclass, fields

import numpy as np

from bnn_compiler.kernels import families
from bnn_compiler.kernels.layout import LANES
from bnn_compiler.kernels.point import Point
from bnn_compiler.kernels.task import Task
from bnn_compiler.ops.winograd import TILE, Filtering
from bnn_compiler.target import Hardware

#: Vector instructions issued in a cycle, loads in a cycle, instructions decoded in a cycle: typical
#: of the cores since 2015. The model learns what a given one does differently.
_VECTOR, _LOAD, _DECODE = 2.0, 2.0, 5.0


@dataclass(frozen=True)
class Features:
    """One row: logarithms to base 2 where a unit is named, plain numbers elsewhere."""

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


NAMES = tuple(f.name for f in fields(Features))


@dataclass(frozen=True)
class _Mix:
    """Instructions of one step of the reduction for one tile."""

    vector: float
    xor: float
    popcount: float
    lookup: float
    add: float
    fma: float
    scalar: float
    loads: float


def _mix(point: Point, accumulators: float, weights: float, hardware: Hardware) -> _Mix:
    a = accumulators
    loads = weights + a / weights
    if point.family in ("float32", "winograd"):
        return _Mix(a, 0, 0, 0, 0, a, 0, loads)
    if point.family == "int16":
        return _Mix(2 * a, 0, 0, 0, a, a, 0, loads)
    if point.family == "table":
        return _Mix(2 * a, 0, 0, a, a, 0, 2 * point.pixels, loads)
    # By shuffles a popcount takes two look-ups, masks and shifts, and a sum of bytes.
    count = 1 if hardware.popcount != "shuffle" else 8
    return _Mix((2 + count) * a, a, count * a, 0, a, 0, 0, loads)


def cycles(task: Task, point: Point, hardware: Hardware) -> float:
    """A rough count of cycles: what the model's prediction is a multiple of."""
    return _analyse(task, point, hardware)[1]


def matrix(task: Task, points: list[Point], hardware: Hardware) -> tuple[np.ndarray, np.ndarray]:
    """Features [len(points), len(NAMES)] and rough cycles [len(points)]."""
    rows = [_analyse(task, p, hardware) for p in points]
    values = [list(asdict(f).values()) for f, _ in rows]
    return np.array(values, np.float32), np.array([c for _, c in rows])


def traffic(task: Task) -> int:
    """Bytes of every tensor and weight of the kernel, each once."""
    n, h, w, o = task.work.shape
    kh, kw = task.work.kernel
    weights = o * kh * kw * task.work.x.shape[3] // task.work.groups
    outputs = sum(1 / 8 if out.is_bits else 4 for out in task.epilogue.outputs)
    tensors = sum(t.bytes for t in task.tensors if t is not None)
    stored = weights * {"uint32": 1 / 8, "int16": 2}.get(task.work.x.dtype, 4)
    return int(task.work.x.bytes + stored + n * h * w * o * outputs + tensors)


def _analyse(task: Task, point: Point, hardware: Hardware) -> tuple[Features, float]:
    work = task.work
    binary = families.is_binary(work)
    g = families.grouping(work)
    n, oh, ow, outputs = work.shape
    kh, kw = work.kernel
    table = point.family == "table"
    per_vector = (8 if table else point.word) * LANES / hardware.vector_bits
    # A tile by minimal filtering is two outputs high and wide.
    side = TILE if work.winograd else 1
    accumulators = point.pixels // side * point.vectors * per_vector
    weights = point.vectors * per_vector
    per_tap = g.inputs if not binary else -(-g.inputs // (4 if table else point.word))
    steps = kh * kw * per_tap
    if point.family == "int16":
        per_tap = -(-kw * g.inputs // 2)
        steps = kh * per_tap
    if work.winograd:
        steps = len(Filtering(kh).slots) ** 2 * g.inputs
    mix = _mix(point, accumulators, weights, hardware)
    blocks = g.merged * g.outputs // point.lanes
    tiles = n * (oh // side) * (ow // point.pixels) * blocks
    per_tile = point.pixels * side * point.lanes
    float_vectors = per_tile * 32 / hardware.vector_bits
    epilogue = float_vectors * (2 + 1.5 * len(task.epilogue.steps) + len(task.epilogue.outputs))
    tensors = sum(s.reads_tensor for s in task.epilogue.steps)
    packed = sum(o.is_bits for o in task.epilogue.outputs)
    stored = len(task.epilogue.outputs) - packed
    issue = mix.vector / _VECTOR
    decode = (mix.vector + mix.loads + mix.scalar) / _DECODE
    step = max(issue, mix.loads / _LOAD, decode)
    total = tiles * (steps * step + epilogue + 8)
    word_bytes = {"table": 1.0, "int16": 4.0}.get(point.family, point.word / 8)
    block_bytes = steps * point.lanes * word_bytes
    weight_bytes = block_bytes * blocks
    row_bytes = 4 * work.x.physical[2] * work.x.channels * kh
    outside = n if point.order == "channels" else n * oh
    streamed = weight_bytes * outside if weight_bytes > hardware.l1_kib * 1024 else weight_bytes
    inner = per_tap if point.unroll == 0 else kw if not table else per_tap / 8
    body = (mix.vector + mix.loads + mix.scalar) * max(1, (8 if table else per_tap) * point.unroll)
    real = per_tile * outputs / (g.merged * g.outputs)

    def log(value: float) -> float:
        return math.log2(max(value, 1e-3))

    features = Features(
        is_popcount=point.family == "popcount",
        is_table=table,
        is_float=point.family in ("float32", "winograd"),
        is_int16=point.family == "int16",
        word=point.word,
        strips=point.order == "strips",
        rows_outside=point.order == "rows",
        unroll=point.unroll,
        pixels=point.pixels,
        vectors=point.vectors,
        accumulators=accumulators,
        pressure=(accumulators + weights + 2) / hardware.vector_registers,
        xor=log(mix.xor * steps / real),
        popcount=log(mix.popcount * steps / real),
        lookup=log(mix.lookup * steps / real),
        add=log(mix.add * steps / real),
        fma=log(mix.fma * steps / real),
        scalar=log(mix.scalar * steps / real),
        loads=mix.loads / mix.vector,
        epilogue=epilogue / real,
        convert=1.0 if binary else 0.0,
        pack=packed,
        steps=log(steps),
        inner=log(inner),
        body=log(body),
        tiles=log(tiles),
        grain=log(n * oh * blocks),
        input_bytes=log(work.x.bytes),
        weight_bytes=log(weight_bytes),
        tensor_bytes=log(4 * n * oh * ow * outputs * (tensors + stored + packed / 32)),
        block_bytes=log(block_bytes),
        row_bytes=log(row_bytes),
        block_in_l1=log(block_bytes / hardware.l1_kib / 1024),
        rows_in_l1=log((block_bytes + row_bytes) / hardware.l1_kib / 1024),
        weights_in_l2=log((weight_bytes + work.x.bytes) / hardware.l2_kib / 1024),
        streamed_bytes=log(streamed),
        word_waste=per_tap * (4 if table else point.word) / g.inputs if binary else 1.0,
        lane_waste=g.merged * g.outputs / outputs,
        stride=work.strides[0],
        groups=log(work.groups),
        batch=n,
        vector_bits=hardware.vector_bits,
        registers=hardware.vector_registers,
        has_popcount=hardware.popcount != "shuffle",
        l1_kib=hardware.l1_kib,
        l2_kib=hardware.l2_kib,
    )
    return features, total
