"""Convolutions by products of tiles of bytes (AMX): what those of signs and of int8 share.

A tile instruction adds the products of 16 x 64 bytes and 64 x 16 bytes to 16 x 16 sums. Its rows
are pixels of one image row, its columns outputs, and the bytes taps in the order in which they lie
one after the other: of a kernel row those of all its taps, if they are neighbours. The image rows
of a block are copied to the stack first, as bytes with room to read beyond the last tap.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import tvm
import tvm_ffi
from tvm import s_tir, te, tirx

from bnn_compiler.kernels.cpu import schedule
from bnn_compiler.kernels.cpu.tiles import DEPTH, ROWS, SUMS, TILE, TILE_ROWS, Role
from bnn_compiler.kernels.epilogue import Stages, Value, finish
from bnn_compiler.kernels.family import Counts, Mix
from bnn_compiler.kernels.grouping import merge
from bnn_compiler.kernels.layout import LANES
from bnn_compiler.kernels.point import Point
from bnn_compiler.kernels.task import Task
from bnn_compiler.kernels.workload import ConvWorkload, reduce_axes
from bnn_compiler.ops.rounding import ceil_div, round_up
from bnn_compiler.target import Hardware

#: Bytes of a block: a thread's stack has 128 KiB with musl.
_STACK = 1 << 16
#: Image rows of a block that are tried.
_HEIGHTS = (1, 2, 4, 8, 16, 32, 64)
#: Parts of the outputs that threads can share.
_PARTS = (1, 2, 4)
#: Iterations that the rule wants there to be.
_THREADS = 4


@dataclass(frozen=True)
class Tiles(Point):
    """Tiles of ``pixels`` x 16 outputs, of which ``rows`` x ``vectors`` are summed at a time.

    ``height`` image rows are copied at a time, for one of ``parts`` of the outputs. With
    ``overlap`` the epilogue of tiles runs while the next ones are summed (overlap.py).
    """

    pixels: int
    rows: int
    vectors: int
    height: int
    parts: int = 1
    overlap: bool = False

    @property
    def tile(self) -> str:
        """Image rows x pixels x vectors."""
        return f"{self.rows}x{self.pixels}x{self.vectors}"


@dataclass(frozen=True)
class Reduction:
    """``rows`` x ``columns`` runs of ``length`` bytes, summed 64 at a time."""

    rows: int
    columns: int
    length: int

    @staticmethod
    def of(work: ConvWorkload) -> "Reduction":
        """A kernel row is one run where its taps are neighbours."""
        (kh, kw), stored = work.kernel, channels(work)
        return Reduction(kh, 1, kw * stored) if work.dilation[1] == 1 else Reduction(kh, kw, stored)

    @property
    def steps(self) -> int:
        """Of a run."""
        return ceil_div(self.length, DEPTH)


def channels(work: ConvWorkload) -> int:
    """Of a stored pixel, as bytes."""
    return work.x.channels * work.x.storage.channels


def fits(work: ConvWorkload, hardware: Hardware) -> bool:
    """Whether every output reads all channels, and a block of one row fits the stack."""
    point = Tiles(_pixels(work.shape[2]), 1, 1, 1)
    return hardware.tiles and work.groups == 1 and rows_of(work, 1) * width(work, point) <= _STACK


def points(work: ConvWorkload) -> Iterator[Tiles]:
    """Up to four tiles of sums; the rows of a block that fit the stack."""
    blocks, pixels = ceil_div(work.shape[3], LANES), _pixels(work.shape[2])
    for rows in range(1, min(SUMS, work.shape[1]) + 1):
        for vectors in (v for v in range(1, SUMS // rows + 1) if blocks % v == 0):
            whole = round_up(work.shape[1], rows)
            for height in sorted({min(rows * h, whole) for h in _HEIGHTS}):
                point = Tiles(pixels, rows, vectors, height)
                if rows_of(work, height) * width(work, point) > _STACK:
                    break
                for parts in (p for p in _PARTS if blocks // vectors % p == 0):
                    one = replace(point, parts=parts)
                    yield one
                    if blocks_of(work, one) > 1:
                        yield replace(one, overlap=True)


def rule(work: ConvWorkload) -> Tiles:
    """The fewest loads for a product, work for a few threads, then few bytes copied twice.

    The epilogue overlaps where it can: that is reasoned (overlap.py), not measured.
    """
    n, oh, _, _ = work.shape

    def cost(point: Tiles) -> tuple[float, bool, float, int, bool]:
        # A product takes a cycle for each pixel, in which two cache lines are loaded.
        lines = point.pixels / point.vectors + ROWS / point.rows
        padded = round_up(oh, point.rows) / oh
        copied = rows_of(work, point.height) / point.height * point.parts
        shared = n * ceil_div(oh, point.height) * point.parts
        return (
            padded * (1 + lines / point.pixels / 2),
            shared < _THREADS,
            copied,
            point.height,
            not point.overlap,
        )

    return min(points(work), key=cost)


def pack(work: ConvWorkload, taps: np.ndarray) -> np.ndarray:
    """int8 [O,KH,KW,C] as tiles [block, ky, run, step, 16, 64]; what is not there is 0.

    The last axes of a tile are [taps by four, output and tap of the four].
    """
    r, (o, kh, kw, c) = Reduction.of(work), taps.shape
    wide = np.zeros((round_up(o, LANES), kh, kw, channels(work)), np.int8)
    wide[:o, ..., :c] = taps
    runs = np.zeros((len(wide), r.rows, r.columns, r.steps * DEPTH), np.int8)
    runs[..., : r.length] = wide.reshape(len(wide), r.rows, r.columns, r.length)
    tiles = runs.reshape(-1, LANES, r.rows, r.columns, r.steps, ROWS, 4)
    packed = tiles.transpose(0, 2, 3, 4, 5, 1, 6)
    return np.ascontiguousarray(packed).reshape(*packed.shape[:5], DEPTH)


def counts(work: ConvWorkload, point: Tiles, word_bytes: int = DEPTH) -> Counts:
    """A step: the products of each tile of sums, and a load of every other tile.

    ``word_bytes`` are those of a row of a tile of weights, as bits a blend and a store for each.
    """
    r, sums = Reduction.of(work), point.rows * point.vectors
    # Vector instructions that would take as long: a row of a tile is a cycle.
    vector = 2.0 * point.pixels * sums
    made = 2.0 * point.vectors * ROWS if word_bytes < DEPTH else 0.0
    return Counts(
        grouping=merge(work.x.shape[3], work.shape[3], 1, 1),
        pixels=point.pixels,
        vectors=point.vectors,
        accumulators=sums,
        weights=point.vectors,
        mix=Mix(vector + made, point.rows * point.pixels + point.vectors * ROWS, add=vector),
        steps=r.rows * r.columns * r.steps,
        inner=r.steps,
        body=1,
        word=8,
        word_bytes=word_bytes,
        word_waste=r.columns * r.steps * DEPTH / (work.kernel[1] * work.x.shape[3]),
        rows=point.rows,
        order="rows",
        unroll=int(point.overlap),
    )


def _pixels(width: int) -> int:
    """Of a tile: the fewest tiles to a row, of pixels as equal as can be."""
    return ceil_div(width, ceil_div(width, ROWS))


def blocks_of(work: ConvWorkload, point: Tiles) -> int:
    """Tiles that are summed one after the other for the rows that are copied at a time."""
    outputs = ceil_div(work.shape[3], LANES) // point.vectors // point.parts
    return outputs * (point.height // point.rows) * ceil_div(work.shape[2], point.pixels)


def rows_of(work: ConvWorkload, height: int) -> int:
    """Stored rows that ``height`` rows of the result read."""
    return (height - 1) * work.strides[0] + (work.kernel[0] - 1) * work.dilation[0] + 1


def width(work: ConvWorkload, point: Tiles) -> int:
    """Bytes of a stored row that whole tiles read, as whole steps."""
    r, last = Reduction.of(work), round_up(work.shape[2], point.pixels) - 1
    column = last * work.strides[1] + (r.columns - 1) * work.dilation[1]
    # Signs are copied by the word, which may begin a step with a half.
    return round_up(column * channels(work) + r.steps * DEPTH, DEPTH)


def function(
    task: Task,
    point: Tiles,
    inputs: list[te.Tensor],
    copied: te.Tensor,
    value: Callable[[te.Tensor], Value],
    taps: te.Tensor | None = None,
) -> tirx.PrimFunc:
    """The scheduled kernel of ``inputs``: the image, its tiles of weights and other constants.

    ``copied`` are the bytes [N, rows, words, bytes of a word] of whole tiles from the first tap on,
    of which a block is made at a time; so are ``taps`` of a step, the tiles of weights if those
    are not parameters (default: they are the second of ``inputs``). ``value`` makes of the sums
    [N, OH, OW, block, 16] what the epilogue begins with. Stages are larger than what is read of
    them by parts of tiles.
    """
    work = task.work
    r, stored, word = Reduction.of(work), channels(work), int(copied.shape[3])
    n, oh, ow, outputs = work.shape
    (sh, sw), (dh, dw) = work.strides, work.dilation
    tiles = inputs[1] if taps is None else taps
    ry, rx, rs, rk, rq = reduce_axes(ry=r.rows, rx=r.columns, rs=r.steps, rk=ROWS, rq=4)

    def total(i, y, z, b, lane):  # type: ignore[no-untyped-def]
        at = (z * sw + rx * dw) * stored + rs * DEPTH + rk * 4 + rq
        factor = copied[i, y * sh + ry * dh, at // word, at % word].astype("int32")
        weight = tiles[b, ry, rx, rs, rk, lane * 4 + rq].astype("int32")
        return te.sum(factor * weight, axis=[ry, rx, rs, rk, rq])

    shape = round_up(oh, point.height), round_up(ow, point.pixels), ceil_div(outputs, LANES)
    acc = te.compute((n, *shape, LANES), total, name="acc")
    made = finish(work.shape, value(acc), task.epilogue, list(task.tensors), inputs, acc)
    expanded = None if taps is None else taps.op.name
    kernel = _schedule(made, point, copied.op.name, expanded)
    return kernel.with_attr(TILE_ROWS, point.pixels)


def weights(work: ConvWorkload) -> te.Tensor:
    """The parameter that ``pack`` makes."""
    r, blocks = Reduction.of(work), ceil_div(work.shape[3], LANES)
    return te.placeholder((blocks, r.rows, r.columns, r.steps, ROWS, DEPTH), "int8", name="w")


def _schedule(made: Stages, point: Tiles, copied: str, expanded: str | None) -> tirx.PrimFunc:
    """Blocks of image rows and parts of the outputs in parallel; outputs, rows and tiles inside."""
    sch = schedule.of(made)
    value, acc, block = (sch.get_sblock(name) for name in ("value", "acc", copied))
    n, y, x, c = sch.get_loops(value)
    outer, y, row = sch.split(y, [None, point.height // point.rows, point.rows])
    x, pixel = sch.split(x, [None, point.pixels])
    part, c, vector, lane = sch.split(c, [point.parts, None, point.vectors, LANES])
    sch.reorder(n, outer, part, c, y, x, row, pixel, vector, lane)
    parallel = sch.fuse(n, outer, part)
    if point.overlap:
        sch.annotate(c, TILE, Role.BLOCKS)
    sch.compute_at(acc, x, preserve_unit_loops=True)
    sch.compute_at(block, parallel, preserve_unit_loops=True)
    for one in (acc, block):
        sch.set_scope(one, 0, "local")
    schedule.attach_bits(sch, made, vector)
    sch.parallel(parallel)
    sch.vectorize(lane)
    sch.unroll(vector)
    sch.vectorize(sch.get_loops(block)[-1])
    _reduce_in_tiles(sch, acc, None if expanded is None else sch.get_sblock(expanded))
    return _pack_bits(sch, made)


def _reduce_in_tiles(sch: s_tir.Schedule, acc: object, taps: object) -> None:
    """Say of each loop what it is to the tiles (TileProducts); ``taps`` are made step by step."""
    *_, row, pixel, vector, output, ry, rx, rs, quad, byte = sch.get_loops(acc)
    inner = [row, vector, pixel, output]
    sch.reorder(ry, rx, rs, *inner, quad, byte)
    if taps is not None:
        sch.compute_at(taps, rs, preserve_unit_loops=True)
        sch.set_scope(taps, 0, "local")
        sch.vectorize(sch.get_loops(taps)[-1])
    init = sch.decompose_reduction(acc, ry)
    sch.annotate(ry, TILE, Role.SUM)
    roles = [Role.ROW, Role.VECTOR, Role.PIXEL, Role.OUTPUT, Role.QUAD, Role.BYTE]
    for loop, role in zip([*inner, quad, byte], roles, strict=True):
        sch.annotate(loop, TILE, role)
    for loop, role in zip(sch.get_loops(init)[-4:], roles[:4], strict=True):
        sch.annotate(loop, TILE, role)


def _pack_bits(sch: s_tir.Schedule, made: Stages) -> tirx.PrimFunc:
    """Packed outputs as intrinsics, which know no guard: those of parts of tiles are put back."""
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
