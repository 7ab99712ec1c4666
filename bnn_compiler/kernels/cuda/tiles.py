"""Pixels in rectangles: the rows of a matrix whose blocks each lie close together in an image."""

from dataclasses import dataclass

import tvm
from tvm import tirx

from bnn_compiler.kernels.cuda.rows import Rows
from bnn_compiler.ops.rounding import ceil_div


@dataclass(frozen=True)
class Tiles(Rows):
    """The pixels of ``shape`` in tiles of ``height`` x ``width``; some may end beyond the image."""

    height: int
    width: int

    @staticmethod
    def of(shape: tuple[int, int, int, int], height: int, width: int) -> "Tiles":
        """Of all images."""
        n, h, w, _ = shape
        count = n * ceil_div(h, height) * ceil_div(w, width) * height * width
        return Tiles(shape, count, height, width)

    def tile(self, number: tvm.ir.Expr) -> tuple[tvm.ir.Expr, tvm.ir.Expr, tvm.ir.Expr]:
        """The image of a tile, and its first row and column there."""
        _, h, w, _ = self.shape
        down, across = ceil_div(h, self.height), ceil_div(w, self.width)
        row, column = number // across % down, number % across
        return number // (down * across), row * self.height, column * self.width

    def within(self, row: tvm.ir.Expr) -> tuple[tvm.ir.Expr, tvm.ir.Expr]:
        """Where a row of the matrix lies in its tile."""
        return row % (self.height * self.width) // self.width, row % self.width

    def pixel(self, row: tvm.ir.Expr) -> tuple[tvm.ir.Expr, tvm.ir.Expr, tvm.ir.Expr]:
        """(n, y, x) of a row, the nearest there is."""
        (n, y, x), _ = self.place(row)
        _, h, w, _ = self.shape
        # Only what may lie beyond: the smallest index is a plain one otherwise.
        y = tirx.min(y, h - 1) if h % self.height else y
        x = tirx.min(x, w - 1) if w % self.width else x
        return n, y, x

    def place(self, row: tvm.ir.Expr) -> tuple[tuple[tvm.ir.Expr, ...], tvm.ir.Expr | None]:
        """(n, y, x) of a row, and whether that is in the image."""
        n, first, left = self.tile(row // (self.height * self.width))
        y, x = self.within(row)
        _, h, w, _ = self.shape
        exists = None
        if h % self.height or w % self.width:
            exists = tirx.all(first + y < h, left + x < w)
        return (n, first + y, left + x), exists
