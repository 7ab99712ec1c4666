"""The product of two float tensors, in tiles of rows and columns that stay in registers."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import tvm
from tvm import s_tir, te, tirx

from bnn_compiler.kernels.layout import LANES
from bnn_compiler.kernels.primitives import Tensor, full
from bnn_compiler.ops.general import Shape
from bnn_compiler.ops.rounding import round_up

#: Rows of a tile: with 16 columns, half of the registers of AVX2.
_ROWS = 4
#: Terms of a sum at most: 16 columns of them are on the stack, 64 KiB.
_MOST_TERMS = 1024
#: Iterations that threads are to share, and tiles of rows in each at least.
_SHARED, _LEAST_TILES = 16, 8


@dataclass(frozen=True)
class Product:
    """``acc`` [batch without axes of 1, rows if there are several, columns], filled up to tiles.

    ``turned`` are the columns of one operand side by side, for each term; ``lanes`` of them are a
    tile's. It is None where the terms are too many: then they are read where they lie.
    """

    turned: te.Tensor | None
    acc: te.Tensor
    lanes: int
    rows: int

    def at(self, index: Sequence[tvm.ir.Expr], shape: Shape) -> tvm.ir.Expr:
        """Its element at an index of the product's ``shape``."""
        return self.acc(*(i for i, n in zip(index, shape, strict=True) if n != 1))


def fits(shape: Shape, terms: int) -> bool:
    """Whether a product of ``shape`` is computed in tiles: not a single number, nor a huge sum
    for columns that are no whole vectors.
    """
    return max(shape[-2:]) > 1 and (terms <= _MOST_TERMS or shape[-1] % LANES == 0)


def product(shape: Shape, a: Tensor, b: Tensor) -> Product:
    """a [..., I, K] times b [..., K, J] of ``shape`` [..., I, J], each sum in the order of K.

    A product of one column has its rows as the columns of a tile.
    """
    *batch, height, width = shape
    terms = a.shape[-1]
    upright = width == 1
    columns, rows = (height, 1) if upright else (width, height)
    lanes = next((n for n in (4, 8) if columns <= n), LANES)
    tile = min(rows, _ROWS)
    kept = [n for n in batch if n != 1]
    filled = round_up(columns, lanes)

    def turn(*index: tvm.ir.Expr) -> tvm.ir.Expr:
        *outer, k, c = index
        column, outer = _last(c, columns, filled), full(tuple(batch), outer)
        return a.broadcast([*outer, column, k]) if upright else b.broadcast([*outer, k, column])

    turned = None
    if terms <= _MOST_TERMS:
        turned = te.compute((*kept, terms, filled), turn, name="turned")
    k = te.reduce_axis((0, terms), "k")

    def sum_up(*index: tvm.ir.Expr) -> tvm.ir.Expr:
        outer, c = index[: len(kept)], index[-1]
        row = _last(index[-2], rows, round_up(rows, tile)) if rows > 1 else tirx.IntImm("int32", 0)
        at = full(tuple(batch), outer)
        other = b.broadcast([*at, k.var, row]) if upright else a.broadcast([*at, row, k.var])
        # schedule.contract turns each step of this sum into one fma.
        mine = turn(*outer, k.var, c) if turned is None else turned(*outer, k.var, c)
        return te.sum(other * mine, axis=[k])

    height_of = [round_up(rows, tile)] if rows > 1 else []
    acc = te.compute((*kept, *height_of, filled), sum_up, name="acc")
    return Product(turned, acc, lanes, tile)


def _last(index: tvm.ir.Expr, count: int, filled: int) -> tvm.ir.Expr:
    """Behind the last one stands its copy."""
    return index if count == filled else tirx.min(index, count - 1)


def parts(several: int, tiles: int) -> int:
    """Into how many parts the ``tiles`` of rows go, so that threads share ``several`` columns.

    Each packs its columns anew, so it has 8 tiles at least.
    """
    most = min(tiles // _LEAST_TILES, -(-_SHARED // several))
    return max(n for n in range(1, max(most, 1) + 1) if tiles % n == 0)


def schedule(sch: s_tir.Schedule, made: Product) -> None:
    """Parallel over batch, columns and parts of the rows; terms stay in cache for all of a part."""
    value, acc = sch.get_sblock("value"), sch.get_sblock("acc")
    *outer, last = sch.get_loops(value)
    rows = [outer.pop()] if made.rows > 1 else []
    column, lane = sch.split(last, [None, made.lanes])
    outer.append(column)
    inner = []
    for row in rows:
        tile, row_of_tile = sch.split(row, [None, made.rows])
        several = prod(int(sch.get(loop).extent) for loop in outer)
        part, tile = sch.split(tile, [parts(several, int(sch.get(tile).extent)), None])
        outer.append(part)
        inner += [tile, row_of_tile]
    sch.reorder(*outer, *inner, lane)
    parallel = sch.fuse(*outer)
    place = inner[0] if inner else parallel
    sch.compute_at(acc, place, preserve_unit_loops=True)
    sch.set_scope(acc, 0, "local")
    if made.turned is not None:
        turned = sch.get_sblock("turned")
        sch.compute_at(turned, parallel, preserve_unit_loops=True)
        sch.set_scope(turned, 0, "local")
    *_, k = loops = sch.get_loops(acc)
    *unrolled, vector = loops[-2 - len(rows) : -1]
    sch.reorder(k, *unrolled, vector)
    for loop in unrolled:
        sch.unroll(loop)
    sch.vectorize(vector)
    sch.parallel(parallel)
    sch.vectorize(lane)
    sch.decompose_reduction(acc, k)
