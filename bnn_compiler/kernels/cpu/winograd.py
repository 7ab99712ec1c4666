"""Strided float convolution by minimal filtering (ops/winograd.py), straight from an NCHW image.

A row of tiles is one step of the parallel loop. Its image rows are padded and their columns split
by four, so that neighbouring tiles lie side by side and every transform is a plain vector loop.
The products at one row of points stay in registers until they are transformed back along x.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from math import gcd
from typing import Any, Self

import numpy as np
import tvm
from tvm import s_tir, te, tirx

from bnn_compiler.kernels.cpu import schedule
from bnn_compiler.kernels.cpu.tile import Tile, loads
from bnn_compiler.kernels.epilogue import Stages, f32, finish, fma
from bnn_compiler.kernels.family import Counts, Mix
from bnn_compiler.kernels.grouping import Grouping, merge
from bnn_compiler.kernels.layout import LANES
from bnn_compiler.kernels.point import Point
from bnn_compiler.kernels.task import Task
from bnn_compiler.kernels.workload import ConvWorkload, reduce_axes
from bnn_compiler.ops.rounding import ceil_div, round_up
from bnn_compiler.ops.winograd import STRIDE, TILE, Filtering, Row, combine, transform_weights
from bnn_compiler.target import Hardware

#: Columns of the image from one tile to the next.
_STEP = STRIDE * TILE
#: Tiles whose transformed inputs are kept together, and most of them in registers.
_BLOCK, _MOST = 8, 4


def grouping(work: ConvWorkload) -> Grouping:
    """One group of whole vectors."""
    return merge(work.x.shape[3], work.shape[3], 1, 1)


@dataclass(frozen=True)
class WinogradPoint(Point):
    """The products of ``tiles`` side by side are summed in registers.

    Of a row of points, ``whole`` says: at all points together, not one after the other.
    """

    family = "winograd"
    tiles: int
    whole: bool

    @property
    def pixels(self) -> int:
        """Outputs along x."""
        return TILE * self.tiles

    @property
    def tile(self) -> str:
        """Pixels x vectors."""
        return self._tile.tile

    @property
    def _tile(self) -> Tile:
        return Tile(self.pixels, 1, 32, unroll=int(self.whole))

    def as_dict(self) -> dict[str, Any]:
        """As a register tile of so many outputs along x is written (tile.py)."""
        return {"family": self.family, **asdict(self._tile)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """The inverse. Raises TypeError for any other tile."""
        tile = Tile.from_dict(data)
        point = cls(tile.pixels // TILE, tile.unroll == 1)
        if point._tile != tile:
            raise TypeError(f"not a schedule: {tile}")
        return point


class Winograd:
    """The family."""

    name = WinogradPoint.family
    point = WinogradPoint

    def fits(self, task: Task, hardware: Hardware) -> bool:
        """Where the pass that may reorder sums asked for it."""
        return task.work.winograd

    def points(self, task: Task, hardware: Hardware) -> Iterator[WinogradPoint]:
        """As many tiles as divide a block and fit the registers."""
        per_vector = max(1, LANES * 32 // hardware.vector_bits)
        free = hardware.vector_registers - per_vector
        shared = Filtering(task.work.kernel[0]).shared
        for tiles in (t for t in range(1, _MOST + 1) if _block(task.work) % t == 0):
            for whole, accumulators in ((False, tiles), (True, tiles * shared)):
                if accumulators * per_vector <= free:
                    yield WinogradPoint(tiles, whole)

    def rule(self, task: Task, hardware: Hardware) -> WinogradPoint:
        """The most accumulators that fit."""
        shared = Filtering(task.work.kernel[0]).shared
        found = self.points(task, hardware)
        return max(found, key=lambda p: p.tiles * (shared if p.whole else 1))

    def constants(
        self, task: Task, point: WinogradPoint, weights: Sequence[np.ndarray]
    ) -> list[np.ndarray]:
        """Weights [O,K,K,C] as [block, slot of rows, slot of columns, C, lane]."""
        slots = transform_weights(weights[0])
        lanes = round_up(slots.shape[3], LANES)
        wide = np.zeros((*slots.shape[:3], lanes), np.float32)
        wide[..., : slots.shape[3]] = slots
        blocks = wide.reshape(*slots.shape[:3], lanes // LANES, LANES)
        return [np.ascontiguousarray(blocks.transpose(3, 0, 1, 2, 4))]

    def function(self, task: Task, point: WinogradPoint) -> tirx.PrimFunc:
        """The scheduled kernel."""
        return _Kernel(task).scheduled(point)

    def counts(self, task: Task, point: WinogradPoint, hardware: Hardware) -> Counts:
        """An fma for each input at each pair of slots; transforms are not counted."""
        g = grouping(task.work)
        per_vector = 32 * LANES / hardware.vector_bits
        accumulators = point.tiles * per_vector
        return Counts(
            grouping=g,
            pixels=point.pixels,
            rows=TILE,
            vectors=1,
            accumulators=accumulators,
            weights=per_vector,
            mix=Mix(accumulators, loads(accumulators, per_vector), fma=accumulators),
            steps=len(Filtering(task.work.kernel[0]).slots) ** 2 * g.inputs,
            inner=task.work.kernel[1] if point.whole else g.inputs,
            body=max(1, g.inputs * point.whole),
            word=32,
            word_bytes=4,
            unroll=int(point.whole),
        )


def _block(work: ConvWorkload) -> int:
    """Tiles of a block: they divide a row."""
    return gcd(work.shape[2] // TILE, _BLOCK)


def _select(index: tvm.ir.Expr, values: Sequence[tvm.ir.Expr]) -> tvm.ir.Expr:
    """values[index]; what is left of it once the loop over ``index`` is unrolled."""
    result = values[-1]
    for i, value in reversed(list(enumerate(values[:-1]))):
        result = tirx.Select(index == i, value, result)
    return result


def _combine(row: Row, values: Sequence[tvm.ir.Expr]) -> tvm.ir.Expr:
    found: tvm.ir.Expr = combine(
        row, values, lambda a, b: a + b, lambda a, b: a - b, lambda v, c, s: fma(v, f32(c), s)
    )
    return found


def _inputs(f: Filtering, slot: tvm.ir.Expr, read: Callable[[int], tvm.ir.Expr]) -> tvm.ir.Expr:
    """What ``slot`` makes of the inputs ``read(0)``, ``read(1)``, ..."""
    values = [
        _combine(row, [read(i) for i in range(s.phase, f.patch, STRIDE)])
        for row, s in zip(f.input_rows, f.slots, strict=True)
    ]
    return _select(slot, values)


class _Kernel:
    """The TE tensors, in the order they are computed."""

    def __init__(self, task: Task) -> None:
        work = task.work
        self.work, self.f = work, Filtering(work.kernel[0])
        f, block = self.f, _block(work)
        n, h, w, channels = work.x.shape
        _, oh, ow, _ = work.shape
        self.outputs = grouping(work).outputs // LANES
        height, width = oh // TILE, ow // TILE
        top, left, _, _ = work.padding
        slots = len(f.slots)
        x = te.placeholder((n, channels, h, w), "float32", name="x")
        shape = (self.outputs, slots, slots, channels, LANES)
        self.weights = te.placeholder(shape, "float32", name="w")

        def pad(i, ty, c, row, column):  # type: ignore[no-untyped-def]
            y, z = ty * _STEP + row - top, column - left
            inside = tirx.all(y >= 0, y < h, z >= 0, z < w)
            return tirx.if_then_else(inside, x[i, c, y, z], f32(0))

        across = round_up(width + ceil_div(f.patch, _STEP) - 1, LANES)
        self.padded = te.compute((n, height, channels, f.patch, _STEP * across), pad, name="padded")
        self.image = te.compute(
            (n, height, channels, f.patch, _STEP, across),
            lambda i, ty, c, row, phase, tx: self.padded[i, ty, c, row, tx * _STEP + phase],
            name="image",
        )
        self.rows = te.compute(
            (n, height, channels, slots, _STEP, across),
            lambda i, ty, c, r, phase, tx: _inputs(
                f, r, lambda k: self.image[i, ty, c, k, phase, tx]
            ),
            name="rows",
        )
        self.seen = te.compute(
            (n, height, width // block, slots, slots, channels, block),
            lambda i, ty, xo, r, s, c, xi: _inputs(
                f, s, lambda k: self.rows[i, ty, c, r, k % _STEP, xo * block + xi + k // _STEP]
            ),
            name="seen",
        )
        back = [self._back(shared_rows) for shared_rows in (True, False)]
        self.back = [tensor for tensor, _ in back]
        self.sums = [sums for _, sums in back]

        def total(i, y, z, c):  # type: ignore[no-untyped-def]
            values = [
                self.back[p == f.shared][
                    i, y // TILE, z // TILE, p % f.shared, z % TILE, c // LANES, c % LANES
                ]
                for p in range(f.points)
            ]
            return _select(y % TILE, [_combine(row, values) for row in f.output_rows])

        inputs = [x, self.weights]
        tensors = list(task.tensors)
        self.stages: Stages = finish(work.shape, total, task.epilogue, tensors, inputs)

    def _sums(self, shared_rows: bool, shared_columns: bool) -> te.Tensor:
        """The products of both phases, added, at the points both share or at the even one's own."""
        f, block = self.f, _block(self.work)
        n, height, blocks, _, _, channels, _ = self.seen.shape
        first_p, first_q = (0 if v else f.shared for v in (shared_rows, shared_columns))
        extents = [f.shared if v else 1 for v in (shared_rows, shared_columns)]
        r, s, c = reduce_axes(r=1 + shared_rows, s=1 + shared_columns, c=int(channels))

        def product(i, ty, tx, p, q, b, lane):  # type: ignore[no-untyped-def]
            at = (f.slot(r, p + first_p), f.slot(s, q + first_q), c)
            value = self.seen[i, ty, tx // block, *at, tx % block]
            return te.sum(value * self.weights[b, *at, lane], axis=[r, s, c])

        return te.compute(
            (n, height, blocks * block, *extents, self.outputs, LANES),
            product,
            name=f"sum{int(shared_rows)}{int(shared_columns)}",
        )

    def _back(self, shared_rows: bool) -> tuple[te.Tensor, list[te.Tensor]]:
        """The sums at rows of points, transformed back along x; and those sums."""
        f = self.f
        sums = [self._sums(shared_rows, columns) for columns in (True, False)]
        n, height, width, rows, _, blocks, lanes = sums[0].shape

        def along(i, ty, tx, p, dx, b, lane):  # type: ignore[no-untyped-def]
            values = [
                sums[q == f.shared][i, ty, tx, p, q % f.shared, b, lane] for q in range(f.points)
            ]
            return _select(dx, [_combine(row, values) for row in f.output_rows])

        shape = (n, height, width, rows, TILE, blocks, lanes)
        return te.compute(shape, along, name=f"back{int(shared_rows)}"), sums

    def scheduled(self, point: WinogradPoint) -> tirx.PrimFunc:
        """One row of tiles at a time, then blocks of tiles, channels, and tiles in registers."""
        stages = self.stages
        sch = schedule.of(stages)
        tiles, block = point.tiles, _block(self.work)
        value = sch.get_sblock("value")
        n, y, x, c = sch.get_loops(value)
        ty, dy = sch.split(y, [None, TILE])
        xo, xg, xt, dx = sch.split(x, [None, block // tiles, tiles, TILE])
        co, cl = sch.split(c, [None, LANES])
        sch.reorder(n, ty, xo, co, xg, dy, xt, dx, cl)
        row = sch.fuse(n, ty)
        reductions = [
            found
            for back, sums in zip(self.back, self.sums, strict=True)
            for found in self._products(sch, xg, back, sums, point)
        ]
        seen = sch.get_sblock("seen")
        sch.compute_at(seen, xo, preserve_unit_loops=True)
        *_, r, s, _, xi = sch.get_loops(seen)
        sch.unroll(s)
        sch.unroll(r)
        sch.vectorize(xi)
        rows = sch.get_sblock("rows")
        sch.compute_at(rows, row, preserve_unit_loops=True)
        *_, channel, r, phase, tx = sch.get_loops(rows)
        txo, txi = sch.split(tx, [None, LANES], disable_predication=True)
        sch.reorder(channel, phase, txo, r, txi)
        sch.unroll(r)
        sch.vectorize(txi)
        image = sch.get_sblock("image")
        sch.compute_at(image, channel, preserve_unit_loops=True)
        *_, phase, tx = sch.get_loops(image)
        sch.reorder(tx, phase)
        sch.unroll(phase)
        padded = sch.get_sblock("padded")
        sch.compute_at(padded, channel, preserve_unit_loops=True)
        for tensor in (seen, rows, image, padded):
            sch.set_scope(tensor, 0, "local")
        schedule.attach_bits(sch, stages, dx)
        sch.parallel(row)
        sch.vectorize(cl)
        for loop in (dy, xt, dx):
            sch.unroll(loop)
        # Not before the others are in place: a split reduction is no compact dataflow.
        for reduced, loop in reductions:
            init = sch.decompose_reduction(reduced, loop)
            for each in sch.get_loops(init)[-6:-1]:
                sch.unroll(each)
        schedule.tensorize_bits(sch, stages)
        return sch.mod["main"]

    def _products(
        self,
        sch: s_tir.Schedule,
        loop: object,
        back: te.Tensor,
        sums: list[te.Tensor],
        point: WinogradPoint,
    ) -> list[tuple[object, object]]:
        """``back`` under ``loop``, its sums under each of its rows of points.

        Returns those with the outermost loops of their reductions.
        """
        reductions = []
        block = sch.get_sblock(back.op.name)
        sch.compute_at(block, loop, preserve_unit_loops=True)
        sch.set_scope(block, 0, "local")
        *_, tx, p, dx, _, lane = sch.get_loops(block)
        sch.reorder(p, tx, dx, lane)
        for tensor in sums:
            one = sch.get_sblock(tensor.op.name)
            sch.compute_at(one, p, preserve_unit_loops=True)
            sch.set_scope(one, 0, "local")
            *_, tile, _, q, _, vector, r, s, c = sch.get_loops(one)
            sch.reorder(*([r, s, c, q] if point.whole else [q, r, s, c]), tile, vector)
            sch.vectorize(vector)
            unrolled = [s, c, q, tile] if point.whole else [c, tile]
            for each in unrolled:
                sch.unroll(each)
            reductions.append((one, r))
        for each in (tx, dx):
            sch.unroll(each)
        sch.vectorize(lane)
        return reductions
