"""Binary convolution by products of tiles (AMX): signs as bytes -1, 0 (padding) and +1.

A tile instruction adds the products of 16 x 64 bytes and 64 x 16 bytes to 16 x 16 sums. Its rows
are pixels of one image row, its columns outputs, and the bytes taps in the order in which they lie
one after the other: of a kernel row those of all its taps, if they are neighbours. The bits of a
block of image rows become bytes once, on the stack.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import tvm
import tvm_ffi
from tvm import s_tir, te, tirx

from bnn_compiler.kernels.cpu import schedule
from bnn_compiler.kernels.cpu.tiles import DEPTH, ROWS, TILE, TILE_ROWS, Role
from bnn_compiler.kernels.epilogue import Stages, finish
from bnn_compiler.kernels.family import Counts, Mix
from bnn_compiler.kernels.grouping import merge
from bnn_compiler.kernels.layout import LANES
from bnn_compiler.kernels.point import Point
from bnn_compiler.kernels.task import Task
from bnn_compiler.kernels.workload import ConvWorkload, reduce_axes
from bnn_compiler.ops.rounding import ceil_div, round_up
from bnn_compiler.target import Hardware

#: Bytes of signs on the stack: a thread's stack has 128 KiB with musl.
STACK = 1 << 16
#: Image rows of a block that are tried.
_HEIGHTS = (1, 2, 4, 8, 16, 32, 64)
#: Parts of the outputs that threads can share.
_PARTS = (1, 2, 4)
#: Iterations that the rule wants there to be.
_THREADS = 4


@dataclass(frozen=True)
class AmxPoint(Point):
    """Tiles of ``pixels`` x 16 outputs, of which ``rows`` x ``vectors`` are summed at a time.

    ``height`` image rows become bytes at a time, for one of ``parts`` of the outputs.
    """

    family = "amx"

    pixels: int
    rows: int
    vectors: int
    height: int
    parts: int = 1

    @property
    def tile(self) -> str:
        """Image rows x pixels x vectors."""
        return f"{self.rows}x{self.pixels}x{self.vectors}"


@dataclass(frozen=True)
class _Reduction:
    """``rows`` x ``columns`` runs of ``length`` bytes, summed 64 at a time."""

    rows: int
    columns: int
    length: int

    @staticmethod
    def of(work: ConvWorkload) -> "_Reduction":
        kh, kw = work.kernel
        stored = _stored(work)
        return (
            _Reduction(kh, 1, kw * stored) if work.dilation[1] == 1 else _Reduction(kh, kw, stored)
        )

    @property
    def steps(self) -> int:
        """Of a run."""
        return ceil_div(self.length, DEPTH)


def _stored(work: ConvWorkload) -> int:
    """Channels of a pixel, as bytes."""
    return work.x.channels * work.x.storage.channels


class Amx:
    """The family."""

    name = AmxPoint.family
    point = AmxPoint

    def fits(self, task: Task, hardware: Hardware) -> bool:
        """Signs, of which every output reads all channels, if their bytes fit the stack."""
        work = task.work
        if not hardware.tiles or not work.is_binary or work.groups > 1:
            return False
        return any(True for _ in self.points(task, hardware))

    def points(self, task: Task, hardware: Hardware) -> Iterator[AmxPoint]:
        """Up to four tiles of sums; the rows of a block that fit the stack."""
        work = task.work
        blocks = ceil_div(work.shape[3], LANES)
        pixels = _pixels(work.shape[2])
        for rows in range(1, min(4, work.shape[1]) + 1):
            for vectors in range(1, 4 // rows + 1):
                for height in _heights(work, rows):
                    point = AmxPoint(pixels, rows, vectors, height)
                    if blocks % vectors or _bytes(work, point) > STACK:
                        continue
                    for parts in _PARTS:
                        if blocks // vectors % parts == 0:
                            yield replace(point, parts=parts)

    def rule(self, task: Task, hardware: Hardware) -> AmxPoint:
        """The fewest loads for a product, work for a few threads, then few bytes made twice."""
        n, oh, _, _ = task.work.shape

        def cost(point: AmxPoint) -> tuple[float, bool, float, int]:
            # A product takes a cycle for each pixel, in which two lines are loaded.
            lines = point.pixels / point.vectors + ROWS / point.rows
            padded = round_up(oh, point.rows) / oh
            made = _rows(task.work, point.height) / point.height * point.parts
            shared = n * ceil_div(oh, point.height) * point.parts
            return padded * (1 + lines / point.pixels / 2), shared < _THREADS, made, point.height

        return min(self.points(task, hardware), key=cost)

    def constants(
        self, task: Task, point: AmxPoint, weights: Sequence[np.ndarray]
    ) -> list[np.ndarray]:
        """Bytes [block, ky, run, step, 16, 64] from int8 weights [O,KH,KW,C] of -1/+1.

        The last axes are [taps by four, output and tap of the four]; other bytes are 0.
        """
        (signs,) = weights
        work, r = task.work, _Reduction.of(task.work)
        o, kh, kw, c = signs.shape
        wide = np.zeros((round_up(o, LANES), kh, kw, _stored(work)), np.int8)
        wide[:o, ..., :c] = signs
        runs = np.zeros((len(wide), r.rows, r.columns, r.steps * DEPTH), np.int8)
        runs[..., : r.length] = wide.reshape(len(wide), r.rows, r.columns, r.length)
        tiles = runs.reshape(-1, LANES, r.rows, r.columns, r.steps, ROWS, 4)
        packed = tiles.transpose(0, 2, 3, 4, 5, 1, 6)
        return [np.ascontiguousarray(packed).reshape(*packed.shape[:5], DEPTH)]

    def function(self, task: Task, point: AmxPoint) -> tirx.PrimFunc:
        """The scheduled kernel: bytes of a block, then tiles and their epilogues."""
        return _schedule(stages(task, point), task.work, point).with_attr(TILE_ROWS, point.pixels)

    def counts(self, task: Task, point: AmxPoint, hardware: Hardware) -> Counts:
        """A step: the products of each tile of sums and a load of every other tile."""
        r = _Reduction.of(task.work)
        sums = point.rows * point.vectors
        # Instructions on vectors that would take as long: a row of a tile is a cycle.
        vector = 2.0 * point.pixels * sums
        loads = point.rows * point.pixels + point.vectors * ROWS
        return Counts(
            grouping=merge(task.work.x.shape[3], task.work.shape[3], 1, 32),
            pixels=point.pixels,
            vectors=point.vectors,
            accumulators=sums,
            weights=point.vectors,
            mix=Mix(vector, loads, add=vector),
            steps=r.rows * r.columns * r.steps,
            inner=r.steps,
            body=1,
            word=8,
            word_bytes=DEPTH,
            word_waste=r.columns * r.steps * DEPTH / (task.work.kernel[1] * task.work.x.shape[3]),
            rows=point.rows,
            order="rows",
        )


def _pixels(width: int) -> int:
    """Of a tile: the fewest tiles to a row, of pixels as equal as can be."""
    return ceil_div(width, ceil_div(width, ROWS))


def _heights(work: ConvWorkload, rows: int) -> Iterator[int]:
    """Multiples of ``rows`` up to the first that has all of the image."""
    whole = round_up(work.shape[1], rows)
    yield from sorted({min(rows * h, whole) for h in _HEIGHTS})


def _rows(work: ConvWorkload, height: int) -> int:
    """Stored rows that ``height`` rows of the result read."""
    return (height - 1) * work.strides[0] + (work.kernel[0] - 1) * work.dilation[0] + 1


def _columns(work: ConvWorkload, pixels: int) -> int:
    """Stored columns that a row of whole tiles reads, and one to read beyond the last run."""
    width = round_up(work.shape[2], pixels)
    return (width - 1) * work.strides[1] + (work.kernel[1] - 1) * work.dilation[1] + 2


def _bytes(work: ConvWorkload, point: AmxPoint) -> int:
    """Of a block."""
    return _rows(work, point.height) * _columns(work, point.pixels) * _stored(work)


def stages(task: Task, point: AmxPoint) -> Stages:
    """The kernel's TE: its stages are larger than what is read of them by parts of tiles."""
    work = task.work
    r, channels = _Reduction.of(work), _stored(work)
    n, oh, ow, outputs = work.shape
    height, width = round_up(oh, point.height), round_up(ow, point.pixels)
    blocks = ceil_div(outputs, LANES)
    word = 64 if work.x.channels % 2 == 0 else 32
    dtype, words, stored = f"uint{word}", channels // word, work.x.physical
    x = te.placeholder((*stored[:3], words), dtype, name="x")
    w = te.placeholder((blocks, r.rows, r.columns, r.steps, ROWS, DEPTH), "int8", name="w")
    rows, columns = _rows(work, height), _columns(work, point.pixels)
    (sh, sw), (dh, dw) = work.strides, work.dilation
    # Of a halo that holds no bits, the padding is 0; else it is bits like others.
    first = work.tap()(0, 0, 0, 0)
    top, left = (0, 0) if work.pad_value else work.x.halo[:2]
    inside = stored[1:3] if work.pad_value else work.x.shape[1:3]

    def sign(i, row, at, bit):  # type: ignore[no-untyped-def]
        y, z = row + first[0], at // words + first[1]
        shifted = tirx.shift_right(x[i, y, z, at % words], bit.astype(dtype))
        one = (shifted & tirx.const(1, dtype)).astype("int8")
        known = tirx.all(y >= top, y < top + inside[0], z >= left, z < left + inside[1])
        signed = one * tirx.const(2, "int8") - tirx.const(1, "int8")
        return tirx.if_then_else(known, signed, tirx.const(0, "int8"))

    signs = te.compute((n, rows, columns * words, word), sign, name="signs")
    ry, rx, rs, rk, rq = reduce_axes(ry=r.rows, rx=r.columns, rs=r.steps, rk=ROWS, rq=4)

    def total(i, y, z, b, lane):  # type: ignore[no-untyped-def]
        at = (z * sw + rx * dw) * channels + rs * DEPTH + rk * 4 + rq
        factor = signs[i, y * sh + ry * dh, at // word, at % word].astype("int32")
        return te.sum(
            factor * w[b, ry, rx, rs, rk, lane * 4 + rq].astype("int32"),
            axis=[ry, rx, rs, rk, rq],
        )

    acc = te.compute((n, height, width, blocks, LANES), total, name="acc")

    def value(i, y, z, c):  # type: ignore[no-untyped-def]
        return acc[i, y, z, c // LANES, c % LANES].astype("float32")

    return finish(work.shape, value, task.epilogue, list(task.tensors), [x, w], acc)


def _schedule(made: Stages, work: ConvWorkload, point: AmxPoint) -> tirx.PrimFunc:
    """Blocks of image rows and parts of the outputs in parallel; outputs, rows and tiles inside."""
    sch = schedule.of(made)
    value, acc, signs = (sch.get_sblock(name) for name in ("value", "acc", "signs"))
    n, y, x, c = sch.get_loops(value)
    block, y, row = sch.split(y, [None, point.height // point.rows, point.rows])
    x, pixel = sch.split(x, [None, point.pixels])
    part, c, vector, lane = sch.split(c, [point.parts, None, point.vectors, LANES])
    sch.reorder(n, block, part, c, y, x, row, pixel, vector, lane)
    parallel = sch.fuse(n, block, part)
    sch.compute_at(acc, x, preserve_unit_loops=True)
    sch.set_scope(acc, 0, "local")
    sch.compute_at(signs, parallel, preserve_unit_loops=True)
    sch.set_scope(signs, 0, "local")
    schedule.attach_bits(sch, made, vector)
    sch.parallel(parallel)
    sch.vectorize(lane)
    sch.unroll(vector)
    sch.vectorize(sch.get_loops(signs)[-1])
    _reduce_in_tiles(sch, acc)
    return _pack(sch, made)


def _reduce_in_tiles(sch: s_tir.Schedule, acc: object) -> None:
    """Say of each loop what it is to the tiles (TileProducts)."""
    *_, row, pixel, vector, output, ry, rx, rs, quad, byte = sch.get_loops(acc)
    inner = [row, vector, pixel, output]
    sch.reorder(ry, rx, rs, *inner, quad, byte)
    init = sch.decompose_reduction(acc, ry)
    for loop, role in zip([*inner, quad, byte], list(Role)[1:], strict=True):
        sch.annotate(loop, TILE, role)
    sch.annotate(ry, TILE, Role.SUM)
    for loop, role in zip(sch.get_loops(init)[-4:], list(Role)[1:5], strict=True):
        sch.annotate(loop, TILE, role)


def _pack(sch: s_tir.Schedule, made: Stages) -> tirx.PrimFunc:
    """Packed outputs as intrinsics, which know no guard: those of whole tiles are put back."""
    names = {tensor.op.name for tensor, _ in made.bits}
    guards: dict[str, tvm.ir.Expr] = {}

    def take(
        realize: s_tir.SBlockRealize, mutator: tvm_ffi.StructuralMutator
    ) -> s_tir.SBlockRealize:
        if realize.block.name_hint not in names:
            return mutator.default_mutate(realize)
        guards[realize.block.name_hint] = realize.predicate
        return s_tir.SBlockRealize(realize.iter_values, True, realize.block)

    def put(
        realize: s_tir.SBlockRealize, mutator: tvm_ffi.StructuralMutator
    ) -> s_tir.SBlockRealize:
        name = realize.block.name_hint.removesuffix("_init").removesuffix("_update_o")
        if name not in guards:
            return mutator.default_mutate(realize)
        return s_tir.SBlockRealize(realize.iter_values, guards[name], realize.block)

    bare = tvm_ffi.structural_mutate(sch.mod["main"], [(s_tir.SBlockRealize, take)])
    packed = s_tir.Schedule(bare, debug_mask="none")
    schedule.tensorize_bits(packed, made)
    return tvm_ffi.structural_mutate(packed.mod["main"], [(s_tir.SBlockRealize, put)])
